"""Why a job ended, and what to do: from the reason in the ledger and the last lines of its output.

What is most specific comes first: when a worker runs out of memory, the others fail too, and theirs is not the reason.
"""

from platform_app.domain.explain import Cause, Source

_ANY = ".*"
_ENDED = "ended"


def _told(name: str, message: str, why: str, unblock: str) -> tuple[Cause, ...]:
    """Give the cause of an end that either the reason's message or a line of the output tells of."""
    return (
        Cause(name, Source.END, r"(?!completed|stopped).*", message, why, unblock),
        Cause(name, Source.OUTPUT, _ENDED, message, why, unblock),
    )


TOLD = (
    *_told(
        "runtime-env-requirement",
        r"(No matching distribution found for|satisfies the requirement) (?P<what>[^\s(]+)",
        "its environment could not be made: there is no package {what} for pip",
        "mend the name or the version under pip:, or see that the cluster reaches its package index",
    ),
    *_told(
        "runtime-env-failed",
        r"runtime_env setup failed|Failed to (set ?up|install|download) .{0,40}(runtime environment|runtime_env|pip)",
        "its environment could not be made: {message}",
        "mend pip: or the working directory",
    ),
    *_told(
        "shared-memory",
        r"/dev/shm|shared memory \(shm\)|Bus error|SIGBUS",  # noqa: S108  # a text to be found
        "a worker ran out of shared memory (/dev/shm): {message}",
        "read data with fewer processes (num_data_workers), or give the worker group a larger /dev/shm",
    ),
    *_told(
        "gpu-memory",
        r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED",
        "a GPU's memory was not enough: {message}",
        "take a smaller batch_size, accumulate micro-batches, parallel: fsdp, or a GPU with more memory",
    ),
    *_told(
        "out-of-memory",
        r"OutOfMemoryError|low on memory|OOM[- ]?[Kk]ill|Cannot allocate memory|\bMemoryError\b|exit code (-9|137)\b",
        "a worker used more memory than there was: {message}",
        "load less in each worker, take fewer workers on one node, or a worker group with more memory_gib",
    ),
    *_told(
        "gpu-driver",
        r"no kernel image is available|driver version is insufficient|CUDA driver initialization failed"
        r"|No CUDA GPUs are available",
        "its GPU cannot be used: {message}",
        "take an image whose CUDA and torch suit the node's driver",
    ),
    *_told(
        "disk-full",
        r"No space left on device|Disk quota exceeded",
        "a disk is full: {message}",
        "make room on the shared storage; keep fewer checkpoints (checkpointing.num_to_keep)",
    ),
    *_told(
        "module-missing",
        r"No module named '(?P<module>[^']+)'",
        "there is no module {module} on its workers",
        "add it to pip:, or send your code along with --working-dir",
    ),
    *_told(
        "nccl",
        r"\bNCCL\b|nccl\w*Error|collective operation timeout|ProcessGroupNCCL",
        "workers lost touch with one another (NCCL): {message}",
        "look for the first worker that fell behind in the output; set NCCL_DEBUG=INFO under env_vars, and see that "
        "the nodes' network lets NCCL through",
    ),
)


def _reason(name: str, why: str, unblock: str, message: str = _ANY) -> Cause:
    return Cause(name, Source.END, name, message, why, unblock)


REASONS = (
    _reason("import-failed", "its code cannot be imported: {message}", "mend it, or send it along with --working-dir"),
    _reason("metric-missing", "{message}", "report that metric, or name another under objective:"),
    _reason("checkpoint-failed", "{message}", "see that the shared storage can be written and has room"),
    _reason("tracking-unavailable", "MLflow was away for too long: {message}", "see that it runs, and submit again"),
    _reason("submission-refused", "the cluster refused it: {message}", "mend what it names, and submit again"),
    _reason("workers-lost", "its workers were lost: {message}", "take market: on-demand, or checkpoint more often"),
    _reason("user-code-failed", "its own code failed: {message}", "mend it there; it is not tried again by itself"),
    Cause(
        "user-code-failed",
        Source.OUTPUT,
        "exception",
        _ANY,
        "its own code failed: {message}",
        "mend it there; it is not tried again by itself",
    ),
    _reason(
        "deadline-exceeded",
        "{message}",
        "submit it with more deadline_seconds, or with more workers",
    ),
    _reason(
        "more-than-declared",
        "{message}",
        "declare what it takes, or have an admin set the team's overuse to warn",
    ),
    _reason("driver-failed", "{message}", "see its output (slipway logs)"),
    _reason("stopped-by-user", "it was stopped: {message}", ""),
    _reason("completed", "it is done", ""),
)
