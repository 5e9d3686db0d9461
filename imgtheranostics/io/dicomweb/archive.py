"""A DICOMweb archive: its address, how to log in, and what its failures mean.

Log-in data come from the environment or from netrc, never from an address or an option, and appear in no
message. Requests and their failures may hold the identifiers that were searched for, so what a library
raised is not chained to the refusal.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from imgtheranostics._version import VERSION
from imgtheranostics.errors import (
    Caution,
    ImgTheranosticsError,
    NothingUsable,
    UnsupportedInput,
)

if TYPE_CHECKING:
    import requests
    from dicomweb_client import DICOMwebClient

USER_VARIABLE = "IMGTHERANOSTICS_PACS_USER"
PASSWORD_VARIABLE = "IMGTHERANOSTICS_PACS_PASSWORD"  # noqa: S105 - the name of a variable
TOKEN_VARIABLE = "IMGTHERANOSTICS_PACS_TOKEN"  # noqa: S105

CONNECT_S = 10.0
TIMEOUT_S = 120.0
"""Longest silence of an archive in s: some assemble a series before they send its first byte."""

_BUSY = (429, 503)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LOG_IN = f"set {USER_VARIABLE} and {PASSWORD_VARIABLE}, or {TOKEN_VARIABLE}, or name the host in ~/.netrc"


@dataclass(frozen=True)
class Archive:
    """An archive that can be asked.

    Attributes
    ----------
    url : str
        Root of its DICOMweb service.
    session : requests.Session
        Logs in, follows no redirection, asks a busy archive again.
    client : DICOMwebClient
        Searches through the same session.
    timeout_s : tuple of float
        To connect, and between two pieces of an answer.
    refusal : type
        Of what is raised when the archive cannot be used: `NothingUsable` of a source, `OutputError` of a
        target.
    """

    url: str
    session: requests.Session = field(repr=False)
    client: DICOMwebClient = field(repr=False)
    timeout_s: tuple[float, float] = (CONNECT_S, TIMEOUT_S)
    refusal: type[ImgTheranosticsError] = NothingUsable

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Turn what the client and its libraries raise into one refusal, without the request in it.

        Raises
        ------
        ImgTheranosticsError
            Of the type `refusal`.
        """
        import requests

        try:
            yield
        except requests.exceptions.RequestException as error:
            raise _of_request(error, self) from None

    def cautions(self) -> tuple[Caution, ...]:
        """Said of an archive that is reached over a network without encryption."""
        address = urlsplit(self.url)
        if address.scheme == "https" or address.hostname in _LOOPBACK:
            return ()
        return (
            Caution(
                "unencrypted-connection",
                "images and log-in data travel unencrypted; use the archive's https address where it has one",
                self.url,
            ),
        )


@contextmanager
def open_archive(
    url: str, *, timeout_s: float = TIMEOUT_S, refusal: type[ImgTheranosticsError] = NothingUsable
) -> Iterator[Archive]:
    """A session with the archive at `url`; nothing is sent yet.

    Parameters
    ----------
    url : str
        Root of a DICOMweb service, such as ``https://pacs.example.org/dicom-web``.
    timeout_s : float
        Longest silence of the archive.
    refusal : type
        Of what is raised when the archive cannot be used.

    Raises
    ------
    UnsupportedInput
        If the address is none of a DICOMweb service or holds log-in data, the log-in data contradict each
        other, or the extra ``pacs`` is not installed.
    """
    checked = _checked(url)
    try:
        import requests
        from dicomweb_client import DICOMwebClient
    except ImportError as error:
        raise UnsupportedInput(
            "archives need the package dicomweb-client, which cannot be imported",
            found=type(error).__name__,
            needed="dicomweb-client 0.60 or newer",
            next_step='install it with: pip install "imgtheranostics[pacs]"',
        ) from None
    # it logs addresses with what was searched for, and free text of the server
    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
    with requests.Session() as session:
        _prepare(session)
        timeouts = (min(CONNECT_S, timeout_s), timeout_s)
        try:
            client = DICOMwebClient(checked, session=session, timeout=timeouts)
        except ValueError:
            raise _bad_address("not an address that dicomweb-client takes") from None
        client.set_http_retry_params(retry=False)
        # it sends this as the Host header, where the port belongs too (RFC 9110, section 7.2)
        client.host = urlsplit(checked).netloc
        yield Archive(checked, session, client, timeouts, refusal)


def _checked(url: str) -> str:
    """The address without a slash at its end."""
    try:
        parts: SplitResult = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise _bad_address("no valid address") from None
    if parts.username is not None or parts.password is not None:
        raise UnsupportedInput(
            "the address of the archive holds log-in data, which would stay in histories and records",
            needed="an address without a user and password",
            next_step=_LOG_IN,
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _bad_address("no http or https address")
    if parts.query or parts.fragment or port == 0:
        raise _bad_address("an address with a query or fragment" if port != 0 else "port 0")
    return url.strip().rstrip("/")


def _bad_address(found: str) -> UnsupportedInput:
    return UnsupportedInput(
        "the address of the archive cannot be used",
        found=found,
        needed="the root of a DICOMweb service, such as https://pacs.example.org/dicom-web",
    )


def _prepare(session: requests.Session) -> None:
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    # only a busy archive is asked again: other attempts would be logged with the whole request
    again = Retry(
        total=None,
        connect=0,
        read=False,
        redirect=0,
        other=0,
        status=2,
        status_forcelist=_BUSY,
        allowed_methods=["GET"],
        backoff_factor=0.5,
        respect_retry_after_header=False,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again))
    session.max_redirects = 0
    session.headers.update({"User-Agent": f"imgtheranostics/{VERSION}", "Accept-Encoding": "identity"})
    session.auth = _log_in()


def _log_in() -> Any:
    """What a session takes to log in, from the environment; None leaves it to netrc."""
    user, password, token = (
        os.environ.get(name, "") for name in (USER_VARIABLE, PASSWORD_VARIABLE, TOKEN_VARIABLE)
    )
    if (token and (user or password)) or bool(user) != bool(password):
        given = [
            name
            for name, value in zip(
                (USER_VARIABLE, PASSWORD_VARIABLE, TOKEN_VARIABLE), (user, password, token), strict=True
            )
            if value
        ]
        raise UnsupportedInput(
            "the log-in data for the archive are incomplete or of two kinds",
            where="environment",
            found=" and ".join(given),
            needed=f"{USER_VARIABLE} with {PASSWORD_VARIABLE}, or {TOKEN_VARIABLE} alone",
        )
    if token:
        if not token.isascii() or not token.isprintable():
            raise UnsupportedInput(
                "the token for the archive holds characters that no header can",
                where=TOKEN_VARIABLE,
                needed="printable ASCII",
            )

        def bear(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        return bear
    return (user.encode(), password.encode()) if user else None


def _of_request(error: requests.exceptions.RequestException, archive: Archive) -> ImgTheranosticsError:
    from requests import exceptions

    if error.response is not None and not isinstance(error, exceptions.JSONDecodeError):
        return of_status(error.response.status_code, archive)
    if isinstance(error, exceptions.SSLError):
        return archive.refusal(
            "the archive's certificate is not trusted, or it does not speak https",
            where=archive.url,
            next_step="check the address; name your institution's certificates in REQUESTS_CA_BUNDLE",
        )
    if isinstance(error, exceptions.Timeout) and not isinstance(error, exceptions.ConnectTimeout):
        return archive.refusal(
            "the archive does not answer in time",
            where=archive.url,
            needed=f"an answer within {archive.timeout_s[1]:g} s",
            next_step="try again; give it longer with --timeout",
        )
    if isinstance(error, exceptions.ConnectionError):
        return archive.refusal(
            "the archive cannot be reached",
            where=archive.url,
            next_step="check the address, the port, and that the archive runs",
        )
    return archive.refusal(
        "the archive's answer is not that of a DICOMweb service",
        where=archive.url,
        found=type(error).__name__,
        next_step="give the root of its DICOMweb service, which often ends in /dicom-web",
    )


def of_status(status: int, archive: Archive) -> ImgTheranosticsError:
    """The refusal that an HTTP status stands for."""
    kind, where = archive.refusal, archive.url
    if status in (401, 403):
        said = "refused the log-in" if status == 401 else "does not allow this to the user who logged in"
        return kind(f"the archive {said}", where=where, found=f"HTTP {status}", next_step=_LOG_IN)
    if 300 <= status < 400:
        return kind(
            "the archive sends requests to another address, which is not followed",
            where=where,
            found=f"HTTP {status}",
            next_step="give the address that it means; it is often the same with https",
        )
    if status in (400, 404, 405, 406, 501):
        return kind(
            "there is no DICOMweb service at this address, or it cannot do this",
            where=where,
            found=f"HTTP {status}",
            next_step="give the root of the DICOMweb service, which often ends in /dicom-web",
        )
    return kind(
        "the archive is busy" if status in _BUSY else "the archive failed",
        where=where,
        found=f"HTTP {status}",
        next_step="try again later, or look into the archive's log",
    )
