"""Where a server may listen: at this machine's own address, or elsewhere for those who have keys."""

from ipaddress import ip_address

from modelbook.config import ServingConfig
from modelbook.errors import UsageError


def check_address(settings: ServingConfig) -> None:
    """Return quietly where a server may listen as the settings say.

    Raises:
        UsageError: Others than this machine would reach it without a key.

    Example:
        >>> check_address(ServingConfig(host="127.0.0.1"))
        >>> check_address(ServingConfig(host="0.0.0.0"))
        Traceback (most recent call last):
        ...
        modelbook.errors.UsageError: without API keys a server listens to this machine alone
        ...
    """
    if settings.api_keys or is_loopback(settings.host):
        return
    raise UsageError(
        "without API keys a server listens to this machine alone",
        where="serving.host",
        got=settings.host,
        expected="127.0.0.1, or serving.api_keys",
        hint="`modelbook serve --new-key` makes a key and says what to write into config.yaml",
    )


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine reaches an address.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "0.0.0.0", "models.example")]
        [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
