"""Kaggle, as far as ``comp`` needs it: the only importer of Kaggle's client.

The client's own SDK (``kagglesdk``) carries every call, with a session that has a timeout. The ``kaggle`` package itself is
not imported: importing it signs in over the network without a timeout, makes folders, prints help to stdout and may
call ``exit()`` (docs/decisions/0009-submit.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from comp._version import __version__
from comp.errors import CompError, KaggleError
from comp.kaggle.credentials import SETTINGS, Credential, find_credential, scrub
from comp.kaggle.http import RetryPolicy, ask, status_of, timed_adapter
from comp.kaggle.types import CompetitionStatus, DataFile, LeaderboardRow, Limits, Submission

T = TypeVar("T")
PAGE = 200
MOST_PAGES = 500
SITE = "https://www.kaggle.com/competitions"


class Kaggle:
    """A session with Kaggle under one credential; every method raises KaggleError or KaggleRefusal."""

    def __init__(self, credential: Credential, patience: RetryPolicy | None = None) -> None:
        self.credential = credential
        self.patience = patience or RetryPolicy()
        self._client = ask(self._sign_in, "signing in", credential, self.patience)
        self._calls = self._client.competitions.competition_api_client

    @property
    def sdk(self) -> Any:
        """The client of Kaggle's SDK, signed in and with timeouts."""
        return self._client

    @classmethod
    def open(cls, patience: RetryPolicy | None = None) -> Kaggle:
        """A session under the credential that Kaggle's own client would take.

        Raises
        ------
        KaggleError
            If there is none.
        """
        credential = find_credential()
        if credential is None:
            value = "neither a token, nor a username and key, nor a login was found"
            remedy = (
                f"make a token at {SETTINGS} and put it into ~/.kaggle/access_token (or KAGGLE_API_TOKEN)"
            )
            raise KaggleError("Kaggle needs a credential", value, remedy)
        if not credential.fits_a_header:
            remedy = f"it has a space or a sign that no header may hold: copy it anew from {SETTINGS}"
            raise KaggleError("a credential must fit into a request", credential.described, remedy)
        return cls(credential, patience)

    def competition(self, slug: str) -> CompetitionStatus:
        """How a competition stands, and whether this account has entered it."""
        request = _request("GetCompetition", competition_name=slug)
        found = self._ask(lambda: self._calls.get_competition(request), f"competition {slug!r}")
        return CompetitionStatus(
            slug,
            found.user_has_entered,
            found.is_kernels_submissions_only,
            found.submissions_disabled,
            found.user_rank or 0,
            found.deadline,
        )

    def evaluation_metric(self, slug: str) -> str:
        """How Kaggle words the metric of a competition; empty where it does not say."""
        request = _request("GetCompetition", competition_name=slug)
        found = self._ask(lambda: self._calls.get_competition(request), f"competition {slug!r}")
        return str(found.evaluation_metric or "")

    def limits(self, slug: str) -> Limits:
        """The submissions that this account's team has made and may still make."""
        request = _request("GetSubmissionLimits", competition_name=slug)
        found = self._ask(lambda: self._calls.get_submission_limits(request), f"limits of {slug!r}")
        return Limits(found.num_today, found.num_total, found.num_allowed_now)

    def submissions(self, slug: str, pages: int = 3) -> list[Submission]:
        """The newest submissions of this account's team, newest first as Kaggle lists them."""

        def page(token: str) -> tuple[list[Any], str]:
            at = {"page": None if token else 1, "page_token": token}
            request = _request("ListSubmissions", competition_name=slug, page_size=PAGE, **at)
            found = self._ask(lambda: self._calls.list_submissions(request), f"submissions of {slug!r}")
            return found.submissions, found.next_page_token

        return [_submission(one) for one in _pages(page, pages)]

    def submission(self, ref: int) -> Submission:
        """One submission by its number."""
        request = _request("GetSubmission", ref=ref)
        found = _submission(self._ask(lambda: self._calls.get_submission(request), f"submission {ref}"))
        return found if found.ref else replace(found, ref=ref)

    def start_upload(self, slug: str, name: str, size: int, modified: int) -> tuple[str, str]:
        """A place to put a file of ``size`` bytes: its token and its address, which are not to be written down."""
        file = {"file_name": name, "content_length": size, "last_modified_epoch_seconds": modified}
        request = _request("StartSubmissionUpload", competition_name=slug, **file)
        found = self._ask(lambda: self._calls.start_submission_upload(request), "place for an upload")
        return found.token, found.create_url

    def put(self, address: str, content: bytes) -> None:
        """Uploads bytes to that place, once: a PUT that fails is never sent again by itself."""
        import requests

        def send() -> None:
            with requests.Session() as session:
                session.auth = lambda request: (
                    request
                )  # the address is signed; no key goes there, no netrc either
                _mount(session, timed_adapter(self.patience))
                session.put(address, data=content).raise_for_status()

        ask(send, "the upload", self.credential, self.patience, repeat=never)

    def create(self, slug: str, token: str, message: str) -> int:
        """Makes a submission of an uploaded file; its number. Asked again only when Kaggle was too busy to look (429)."""
        request = _request("CreateSubmission", competition_name=slug, blob_file_tokens=token)
        if message:
            request.submission_description = message

        def too_busy(problem: CompError) -> bool:
            return status_of(problem) == 429

        found = self._ask(lambda: self._calls.create_submission(request), "the submission", too_busy)
        if not found.ref:
            value = scrub(found.message) or "it gave no number and no reason"
            raise KaggleError("Kaggle must number a submission", value, "the same command looks for it first")
        return int(found.ref)

    def files(self, slug: str) -> list[DataFile]:
        """The files of a competition's data."""

        def page(token: str) -> tuple[list[Any], str]:
            request = _request("ListDataFiles", competition_name=slug, page_size=PAGE, page_token=token)
            found = self._ask(lambda: self._calls.list_data_files(request), f"files of {slug!r}")
            return found.files, found.next_page_token

        return [DataFile(one.name or one.ref, one.total_bytes) for one in _pages(page, MOST_PAGES)]

    def data(self, slug: str, name: str | None, start: int) -> Any:
        """The open answer (a requests.Response) with a data file from byte ``start``, or with all files as one archive.

        One attempt, for a download that counts its own; the address behind it is new each time.
        """
        session = self._client.http_client()._session
        adapter = timed_adapter(self.patience)
        adapter.start = start
        _mount(session, adapter)
        session.headers["Accept-Encoding"] = "identity"  # bytes as they are counted
        if name is None:
            return self._calls.download_data_files(_request("DownloadDataFiles", competition_name=slug))
        request = _request("DownloadDataFile", competition_name=slug, file_name=name)
        return self._calls.download_data_file(request)

    def leaderboard(self, slug: str, rows: int, patient: bool = True) -> list[LeaderboardRow]:
        """The first ``rows`` of the public leaderboard; asked once only, unless ``patient``."""
        repeat = None if patient else never

        def page(token: str) -> tuple[list[Any], str]:
            at = {"page_size": min(rows, PAGE), "page_token": token}
            request = _request("GetLeaderboard", competition_name=slug, **at)
            found = self._ask(
                lambda: self._calls.get_leaderboard(request), f"leaderboard of {slug!r}", repeat
            )
            return found.submissions, found.next_page_token

        found = _pages(page, -(-rows // min(rows, PAGE)))[:rows]
        return [
            LeaderboardRow(rank, one.team_name or "", one.score or "", one.submission_date)
            for rank, one in enumerate(found, start=1)
        ]

    def like(self, slug: str) -> list[str]:
        """Names of competitions that a search for ``slug`` finds; none where Kaggle does not answer."""
        request = _request("ListCompetitions", search=slug.replace("-", " "))
        try:
            found = self._ask(lambda: self._calls.list_competitions(request), "a search", never)
        except CompError:
            return []
        return [(one.ref or one.url or "").rstrip("/").rpartition("/")[2] for one in found.competitions]

    def _ask(self, call: Callable[[], T], what: str, repeat: Callable[[CompError], bool] | None = None) -> T:
        return ask(call, what, self.credential, self.patience, repeat=repeat)

    def _sign_in(self) -> Any:
        """A client under the credential; an OAuth login is first changed for a token."""
        from kagglesdk import KaggleCredentials

        one = self.credential
        if one.kind == "key":
            return self._new_client(username=one.username, password=one.secret)
        if one.kind == "token":
            return self._new_client(api_token=one.secret)
        login = KaggleCredentials.load(client=self._new_client(api_token="none"))
        return self._new_client(api_token=login.get_access_token())

    def _new_client(self, **signed: str) -> Any:
        from kagglesdk import KaggleClient

        client = KaggleClient(verbose=False, user_agent=f"comp/{__version__}", **signed)
        _mount(
            client.http_client()._init_session() or client.http_client()._session,
            timed_adapter(self.patience),
        )
        return client


def _request(name: str, **fields: Any) -> Any:
    """A request about competitions, with these fields."""
    return sdk_value("competitions", "competition", f"{name}Request", **fields)


def sdk_value(package: str, service: str, kind: str, /, **fields: Any) -> Any:
    """A request, or a part of one, of a service of Kaggle's SDK, with these fields."""
    from importlib import import_module

    types = import_module(f"kagglesdk.{package}.types.{service}_api_service")
    value = getattr(types, f"Api{kind}")()
    for field, given in fields.items():
        setattr(value, field, given)
    return value


def dataset_blob() -> Any:
    """What says that an uploaded file is for a dataset."""
    from kagglesdk.blobs.types.blob_api_service import ApiBlobType

    return ApiBlobType.DATASET


def never(_problem: CompError) -> bool:
    """A call that is not to be repeated."""
    return False


def mount_timed(session: Any, patience: RetryPolicy) -> None:
    """Gives a session of requests a timeout on every call."""
    _mount(session, timed_adapter(patience))


def _mount(session: Any, adapter: Any) -> None:
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)


def _pages(page: Callable[[str], tuple[list[Any], str]], most: int) -> list[Any]:
    """The rows of at most so many pages; a token that comes twice ends it."""

    def rows() -> Iterator[Any]:
        token, seen = "", {""}
        for _ in range(most):
            found, token = page(token)
            yield from found
            if not token or token in seen:
                return
            seen.add(token)

    return list(rows())


def _submission(found: Any) -> Submission:
    return Submission(
        found.ref,
        found.status.name,
        _number(found.public_score),
        _number(found.private_score),
        scrub(found.error_description or ""),
        found.file_name or "",
        found.description or "",
        found.team_name or "",
        found.date,
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
