"""A small archive that answers as DICOMweb says, or wrongly in one chosen way; and a real Orthanc."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pydicom
import pytest

from imgtheranostics.io.dicomweb.archive import PASSWORD_VARIABLE, TOKEN_VARIABLE, USER_VARIABLE

BOUNDARY = "mark"
JSON = "application/dicom+json"
ORTHANC_PORT = 8042
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
KEYS = {
    "PatientID": "00100020", "StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018", "Modality": "00080060",
}  # fmt: skip
LEVELS = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}


def _write_series(folder, *, patient="animal 7", study="1.2.3", series="1.2.3.1", modality="CT", n=3):
    """A few slices without meaning, as small as DICOM files can be."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for k in range(n):
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{series}.{k + 1}"
        ds.PatientID, ds.PatientName = patient, "Canary^Name"
        ds.add(pydicom.DataElement("Modality", "CS", modality, validation_mode=pydicom.config.IGNORE))
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.Rows = ds.Columns = 4
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 0
        ds.PixelData = np.arange(16, dtype=np.uint16).tobytes()
        files.append(folder / f"{series}-{k}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
    return files


class FakeArchive:
    """Serves what it is given under ``/dicom-web``.

    Attributes
    ----------
    faults : set of str
        How it deviates from what it should do.
    log_in : str or None
        The header that it wants.
    asked : list of str
        Method and path of every request.
    hosts : set of str
        Host headers of the requests.
    received : list of bytes
        Bodies that were stored.
    """

    def __init__(self):
        self.objects: list[tuple[bytes, pydicom.Dataset]] = []
        self.faults: set[str] = set()
        self.log_in: str | None = None
        self.asked: list[str] = []
        self.hosts: set[str] = set()
        self.received: list[bytes] = []
        self.report: tuple[int, bytes] | None = None
        archive = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                archive.get(self)

            def do_POST(self):
                archive.post(self)

            def log_message(self, *_):
                """Nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/dicom-web"
        self.hanging = threading.Event()
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, files):
        for file in files:
            self.objects.append((file.read_bytes(), pydicom.dcmread(file)))

    def close(self):
        self.hanging.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler, status, content_type, body, *, promised=None):
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body) if promised is None else promised))
        handler.send_header("Connection", "close")
        if status == 302:
            handler.send_header("Location", "https://elsewhere.invalid/dicom-web")
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    def _refused(self, handler):
        self.asked.append(f"{handler.command} {handler.path}")
        self.hosts.add(handler.headers["Host"])
        if self.log_in is not None and handler.headers.get("Authorization") != self.log_in:
            self.answer(handler, 401, "text/plain", b"who are you, Canary^Name?")
        elif "forbidden" in self.faults:
            self.answer(handler, 403, "text/plain", b"")
        elif "redirects" in self.faults:
            self.answer(handler, 302, "text/plain", b"")
        elif "busy once" in self.faults:
            self.faults.discard("busy once")
            self.answer(handler, 503, "text/plain", b"")
        elif "busy" in self.faults:
            self.answer(handler, 503, "text/plain", b"")
        elif "fails" in self.faults:
            self.answer(handler, 500, "text/plain", b"Canary^Name is broken")
        elif "web page" in self.faults:
            self.answer(handler, 200, "text/html", b"<html>please log in</html>")
        elif "hangs" in self.faults:
            self.hanging.wait(20)
            handler.close_connection = True
        else:
            return False
        return True

    def get(self, handler):
        if self._refused(handler):
            return
        address = urlsplit(handler.path)
        words = address.path.removeprefix("/dicom-web/").split("/")
        level = {"studies": "studies", "series": "series", "instances": "instances"}.get(words[-1])
        fixed = {LEVELS[name]: uid for name, uid in zip(words[::2], words[1::2], strict=False)}
        if level is None:
            self._send_series(handler, fixed)
        else:
            self._send_list(handler, level, fixed, {k: v[0] for k, v in parse_qs(address.query).items()})

    def _send_list(self, handler, level, fixed, query):
        limit, offset = int(query.pop("limit", 100)), int(query.pop("offset", 0))
        query.pop("includefield", None)
        if "pages of one" in self.faults:
            limit = 1
        if "knows no pages" in self.faults:
            limit, offset = 10**6, 0
        keys = fixed if "knows no keys" in self.faults else {**fixed, **query}
        found = {}
        for _, ds in self.objects:
            same = all(str(ds.get(key)).lower() == value.lower() for key, value in keys.items())
            if same:
                item = {tag: {"vr": "LO", "Value": [str(ds.get(key))]} for key, tag in KEYS.items()}
                found[str(ds.get(LEVELS[level]))] = item
        items = list(found.values())[offset : offset + limit]
        if "lists no UID" in self.faults:
            items = [{**item, KEYS[LEVELS[level]]: {"vr": "UI", "Value": ["../../etc"]}} for item in items]
        if "no list" in self.faults:
            items = [1, 2]
        self.answer(handler, 200, JSON, json.dumps(items).encode())

    def _send_series(self, handler, fixed):
        objects = [
            raw for raw, ds in self.objects if all(str(ds.get(key)) == uid for key, uid in fixed.items())
        ]
        if "one missing" in self.faults:
            objects = objects[:-1]
        if "one twice" in self.faults:
            objects += objects[:1]
        if "another's" in self.faults:
            objects[-1] = next(
                raw for raw, ds in self.objects if str(ds.SeriesInstanceUID) not in fixed.values()
            )
        if "junk" in self.faults:
            objects[-1] = b"no DICOM at all"
        if "cut inside a file" in self.faults:
            objects[-1] = objects[-1][:-20]
        if "plain" in self.faults:
            self.answer(handler, 200, "application/dicom", objects[0])
            return
        body = b"".join(
            f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + raw + b"\r\n"
            for raw in objects
        )
        body += f"--{BOUNDARY}--".encode()
        promised = len(body)
        if "breaks off" in self.faults:
            body = body[: len(body) // 2]
        if "no end" in self.faults:
            body = body[:-2]
            promised = len(body)
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        self.answer(handler, 200, kind, body, promised=promised)

    def post(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if self._refused(handler):
            return
        self.received.append(body)
        marks = handler.headers["Content-Type"].split("boundary=")[1].strip('"')
        parts = body.split(f"\r\n--{marks}".encode())[1:-1]
        stored = [part.split(b"\r\n\r\n", 1)[1] for part in parts]
        read = [(raw, pydicom.dcmread(pydicom.filebase.DicomBytesIO(raw))) for raw in stored]
        self.objects += read
        if self.report is not None:
            self.answer(handler, self.report[0], JSON, self.report[1])
            return
        items = [
            {
                "00081155": {"vr": "UI", "Value": [str(ds.SOPInstanceUID)]},
                **({"00081196": {"vr": "US", "Value": [0xB000]}} if "changes" in self.faults else {}),
            }
            for _, ds in read
        ]
        report = {"00081199": {"vr": "SQ", "Value": items}}
        if "refuses one" in self.faults:
            items.pop()
            report["00081198"] = {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}
        self.answer(handler, 202 if self.faults else 200, JSON, json.dumps(report).encode())


@pytest.fixture
def archive(monkeypatch, tmp_path):
    for name in (USER_VARIABLE, PASSWORD_VARIABLE, TOKEN_VARIABLE, "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    fake = FakeArchive()
    yield fake
    fake.close()


@pytest.fixture
def write_series():
    return _write_series


@pytest.fixture
def basic():
    """The header of HTTP basic authentication (RFC 7617)."""

    def header(user, password):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    return header


COMMANDS = """
import contextlib, io, json, os, sys
from imgtheranostics.cli.main import main
answers = sys.stdout
for line in sys.stdin:
    order = json.loads(line)
    os.chdir(order["cwd"])
    sys.stdin = io.StringIO(order["stdin"])
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        code = main(order["arguments"])
    answer = {"returncode": code, "stdout": out.getvalue(), "stderr": error.getvalue()}
    print(json.dumps(answer), file=answers, flush=True)
"""


class Orthanc:
    """A real archive in a network of its own: nothing outside its namespace can reach it."""

    url = f"http://127.0.0.1:{ORTHANC_PORT}/dicom-web"
    user, password = "reader", "secret-word-8042"

    def __init__(self, folder: Path):
        self.folder = folder
        self.commands: subprocess.Popen[str] | None = None
        as_root = os.geteuid() == 0
        config = folder / "orthanc.json"
        config.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "store"),
                    "IndexDirectory": str(folder / "store"),
                    "HttpPort": ORTHANC_PORT,
                    "DicomServerEnabled": False,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {self.user: self.password},
                    "Plugins": [str(DICOMWEB_PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )
        apart = ["unshare", "--net", *([] if as_root else ["--map-root-user"])]
        start = f"ip link set lo up && exec {shutil.which('Orthanc', path=SYSTEM_PATH)} {config}"
        self.log = (folder / "orthanc.log").open("wb")
        self.process = subprocess.Popen([*apart, "bash", "-c", start], stdout=self.log, stderr=self.log)
        enter = ["--net", *([] if as_root else ["--user", "--preserve-credentials"])]
        self.inside = ["nsenter", "--target", str(self.process.pid), *enter]
        self._wait()

    def _wait(self):
        """Until a socket of its network listens on the port, as the kernel lists it."""
        table = Path(f"/proc/{self.process.pid}/net/tcp")
        wanted = f":{ORTHANC_PORT:04X} 00000000:0000 0A"
        for _ in range(300):
            if self.process.poll() is not None:
                break
            if wanted in table.read_text():
                return
            time.sleep(0.05)
        self.stop()
        pytest.fail("Orthanc did not start: " + (self.folder / "orthanc.log").read_text()[-500:])

    def run(self, *arguments, stdin="", cwd="/"):
        """One command of the package, in a process inside the archive's network that takes many."""
        if self.commands is None:
            self.commands = subprocess.Popen(
                [*self.inside, sys.executable, "-c", COMMANDS],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment(self.password),
            )  # fmt: skip
        order = {"arguments": [str(one) for one in arguments], "stdin": stdin, "cwd": str(cwd)}
        self.commands.stdin.write(json.dumps(order) + "\n")
        self.commands.stdin.flush()
        return subprocess.CompletedProcess(arguments, **json.loads(self.commands.stdout.readline()))

    def run_apart(self, *arguments, password=password):
        """One command in a process of its own, as a user starts it."""
        code = "from imgtheranostics.cli.main import run; run()"
        return subprocess.run(
            [*self.inside, sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=120, env=self.environment(password),
        )  # fmt: skip

    def environment(self, password):
        return {**os.environ, USER_VARIABLE: self.user, PASSWORD_VARIABLE: password}

    def stop(self):
        if self.commands is not None:
            self.commands.stdin.close()
            self.commands.wait(30)
            self.commands.stdout.close()
        if self.process.poll() is None:
            # it takes seconds to end in order, and what it holds is thrown away
            self.process.kill()
            self.process.wait(30)
        self.log.close()


SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _why_no_orthanc() -> str | None:
    if not shutil.which("Orthanc", path=SYSTEM_PATH) or not DICOMWEB_PLUGIN.exists():
        return "Orthanc with its DICOMweb plugin is not installed (Debian: orthanc orthanc-dicomweb)"
    for tool in ("unshare", "nsenter", "ip", "bash"):
        if not shutil.which(tool, path=SYSTEM_PATH):
            return f"{tool} is not installed (Debian: util-linux iproute2)"
    apart = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "true"]
    if subprocess.run(apart, capture_output=True, check=False).returncode:
        return "a network namespace cannot be made here"
    return None


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    why_not = _why_no_orthanc()
    if why_not is not None:
        pytest.skip(why_not)
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()
