"""The calls of Kaggle's client for datasets, notebooks and submissions of notebooks, as values of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.errors import CompError, KaggleError, KaggleRefusal
from comp.kaggle.client import Kaggle, dataset_blob, mount_timed, never, sdk_value
from comp.kaggle.credentials import scrub
from comp.kaggle.http import ask, status_of

ABSENT = (403, 404)  # of what is not there, or not ours: Kaggle does not tell which


@dataclass(frozen=True)
class KernelState:
    """How the last run of a notebook stands: QUEUED, RUNNING, COMPLETE, ERROR or a cancelled one; with the server's reason."""

    status: str
    reason: str = ""


class KernelCalls:
    """Datasets and notebooks of one owner, under a session with Kaggle; every method raises KaggleError or KaggleRefusal."""

    def __init__(self, api: Kaggle) -> None:
        self._api = api
        client = api.sdk
        self._datasets = client.datasets.dataset_api_client
        self._kernels = client.kernels.kernels_api_client
        self._blobs = client.blobs.blob_api_client
        self._competitions = client.competitions.competition_api_client

    def dataset_version(self, owner: str, slug: str) -> int:
        """The newest version of a dataset; 0 where there is none."""
        request = sdk_value("datasets", "dataset", "GetDatasetRequest", owner_slug=owner, dataset_slug=slug)
        found = self._or_none(lambda: self._datasets.get_dataset(request), f"dataset {owner}/{slug}")
        return 0 if found is None else int(found.current_version_number or 1)

    def dataset_status(self, owner: str, slug: str) -> str:
        """READY, FAILED, or how far a dataset is; empty where there is none."""
        request = sdk_value(
            "datasets", "dataset", "GetDatasetStatusRequest", owner_slug=owner, dataset_slug=slug
        )
        found = self._or_none(lambda: self._datasets.get_dataset_status(request), f"dataset {owner}/{slug}")
        return "" if found is None else str(found.status.name)

    def upload(self, path: Path) -> str:
        """Uploads a file for a dataset, once; its token."""
        facts = path.stat()
        request = sdk_value(
            "blobs",
            "blob",
            "StartBlobUploadRequest",
            type=dataset_blob(),
            name=path.name,
            content_length=facts.st_size,
            last_modified_epoch_seconds=int(facts.st_mtime),
        )
        found = self._ask(lambda: self._blobs.start_blob_upload(request), f"a place for {path.name}")
        self._put(found.create_url, path)
        return str(found.token)

    def create_dataset(self, owner: str, slug: str, title: str, tokens: list[str]) -> None:
        """Makes a private dataset of uploaded files."""
        request = sdk_value(
            "datasets",
            "dataset",
            "CreateDatasetRequest",
            owner_slug=owner,
            slug=slug,
            title=title,
            license_name="other",
            is_private=True,
            files=[_new_file(token) for token in tokens],
        )
        what = f"the dataset {owner}/{slug}"
        _require_taken(self._once(lambda: self._datasets.create_dataset(request), what), what)

    def create_dataset_version(self, owner: str, slug: str, notes: str, tokens: list[str]) -> None:
        """Makes a new version of a dataset of uploaded files; older ones stay."""
        body = sdk_value("datasets", "dataset", "CreateDatasetVersionRequestBody", version_notes=notes)
        body.files = [_new_file(token) for token in tokens]
        request = sdk_value(
            "datasets",
            "dataset",
            "CreateDatasetVersionRequest",
            owner_slug=owner,
            dataset_slug=slug,
            body=body,
        )
        what = f"a version of the dataset {owner}/{slug}"
        _require_taken(self._once(lambda: self._datasets.create_dataset_version(request), what), what)

    def kernel_version(self, owner: str, slug: str) -> int:
        """The newest version of a notebook; 0 where there is none."""
        request = sdk_value("kernels", "kernels", "GetKernelRequest", user_name=owner, kernel_slug=slug)
        found = self._or_none(lambda: self._kernels.get_kernel(request), f"notebook {owner}/{slug}")
        return 0 if found is None else int(found.metadata.current_version_number or 1)

    def push(self, metadata: dict[str, Any], text: str) -> int:
        """Saves a version of a notebook, which Kaggle then runs; its number."""
        request = sdk_value(
            "kernels",
            "kernels",
            "SaveKernelRequest",
            slug=metadata["id"],
            new_title=metadata["title"],
            text=text,
            language=metadata["language"],
            kernel_type=metadata["kernel_type"],
            is_private=metadata["is_private"],
            enable_gpu=metadata["enable_gpu"],
            enable_tpu=metadata["enable_tpu"],
            enable_internet=metadata["enable_internet"],
            dataset_data_sources=metadata["dataset_sources"],
            competition_data_sources=metadata["competition_sources"],
            kernel_data_sources=metadata["kernel_sources"],
            model_data_sources=metadata["model_sources"],
            category_ids=[],
        )
        if metadata.get("machine_shape"):
            request.machine_shape = metadata["machine_shape"]
        what = f"the notebook {metadata['id']}"
        found = self._once(lambda: self._kernels.save_kernel(request), what)
        wrong = [*(found.invalid_dataset_sources or []), *(found.invalid_competition_sources or [])]
        if found.error or wrong:
            value = scrub(found.error or "") or f"it does not find {', '.join(wrong)}"
            raise KaggleRefusal(f"Kaggle must take {what}", value, "correct that, then the same command")
        return int(found.version_number or 0)

    def state(self, owner: str, slug: str, version: int) -> KernelState:
        """How the run of a notebook's version stands."""
        request = sdk_value(
            "kernels", "kernels", "GetKernelSessionStatusRequest", user_name=owner, kernel_slug=slug
        )
        request.version_label = str(version)
        found = self._ask(
            lambda: self._kernels.get_kernel_session_status(request), f"notebook {owner}/{slug}"
        )
        return KernelState(str(found.status.name), scrub(found.failure_message or ""))

    def submit(self, competition: str, kernel: tuple[str, str, int], file: str, message: str) -> int:
        """Submits the file that a version of a notebook (owner, slug, version) wrote; the submission's number."""
        owner, slug, version = kernel
        request = sdk_value(
            "competitions",
            "competition",
            "CreateCodeSubmissionRequest",
            competition_name=competition,
            kernel_owner=owner,
            kernel_slug=slug,
            kernel_version=version,
            file_name=file,
            submission_description=message,
        )
        found = self._once(lambda: self._competitions.create_code_submission(request), "the submission")
        if not found.ref:
            value = scrub(found.message or "") or "it gave no number and no reason"
            raise KaggleError("Kaggle must number a submission", value, "the same command looks for it first")
        return int(found.ref)

    def _put(self, address: str, path: Path) -> None:
        """Uploads a file as it lies on the disk, once."""
        import requests

        def send() -> None:
            with requests.Session() as session, path.open("rb") as file:
                session.auth = lambda request: request  # the address is signed
                mount_timed(session, self._api.patience)
                session.put(address, data=file).raise_for_status()

        ask(send, f"the upload of {path.name}", self._api.credential, self._api.patience, repeat=never)

    def _ask(self, call: Any, what: str) -> Any:
        return ask(call, what, self._api.credential, self._api.patience)

    def _once(self, call: Any, what: str) -> Any:
        """A call that makes something: asked again only where Kaggle was too busy to look (429)."""

        def too_busy(problem: CompError) -> bool:
            return status_of(problem) == 429

        return ask(call, what, self._api.credential, self._api.patience, repeat=too_busy)

    def _or_none(self, call: Any, what: str) -> Any:
        try:
            return self._ask(call, what)
        except CompError as problem:
            if status_of(problem) in ABSENT:
                return None
            raise


def _new_file(token: str) -> Any:
    return sdk_value("datasets", "dataset", "DatasetNewFile", token=token)


def _require_taken(found: Any, what: str) -> None:
    """KaggleRefusal where an answer that is no error says that it is one."""
    if found.error or str(found.status or "").lower() == "error":
        value = scrub(found.error or "") or "it gives no reason"
        raise KaggleRefusal(f"Kaggle must take {what}", value, "correct that, then the same command")
