"""A FastAPI application that answers every request with the same prediction: the limit of the web server."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/invocations")
async def answer() -> dict[str, list[float]]:
    """Return a constant."""
    return {"predictions": [206855.81]}


@app.get("/ping")
async def ping() -> None:
    """Say that the server is there."""
