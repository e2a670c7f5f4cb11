"""A hub that serves folders over HTTP to the real huggingface_hub: branches, commits and files of one model."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest


def digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serve(name: str, revisions: Mapping[str, Path], lists: bool = True) -> Iterator[tuple[str, list[str]]]:
    """(address, paths asked for so far); ``lists``: whether it answers what revisions there are."""
    commits = {revision: hashlib.sha1(revision.encode()).hexdigest() for revision in revisions}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(f"{self.command} {path}")
            if path == f"/api/models/{name}/refs" and lists:
                branches = [
                    {"name": revision, "ref": f"refs/heads/{revision}", "targetCommit": commit}
                    for revision, commit in commits.items()
                ]
                self.send(json.dumps({"branches": branches, "tags": [], "converts": []}).encode(), body)
                return
            for revision, folder in revisions.items():
                for called in (revision, commits[revision]):
                    if path == f"/api/models/{name}/revision/{called}":
                        files = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
                        found = {"id": name, "sha": commits[revision], "siblings": files}
                        self.send(json.dumps(found).encode(), body)
                        return
                    if path == f"/api/models/{name}/tree/{called}":
                        tree = [
                            {
                                "type": "file",
                                "path": file.name,
                                "size": file.stat().st_size,
                                "oid": digest(file),
                            }
                            for file in sorted(folder.iterdir())
                        ]
                        self.send(json.dumps(tree).encode(), body)
                        return
                    start = f"/{name}/resolve/{called}/"
                    file = folder / path.removeprefix(start)
                    if path.startswith(start) and file.is_file():
                        self.send(file.read_bytes(), body, commits[revision], digest(file))
                        return
            self.send(
                b"", body, status=404, error="EntryNotFound" if "/resolve/" in path else "RevisionNotFound"
            )

        def send(
            self,
            content: bytes,
            body: bool,
            commit: str = "",
            etag: str = "",
            status: int = 200,
            error: str = "",
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if commit:
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", f'"{etag}"')
            if error:
                self.send_header("X-Error-Code", error)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path, offline: bool = False) -> None:
    """Have huggingface_hub ask there, and keep what it fetches in ``cache``."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
