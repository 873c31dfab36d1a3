"""What keeps a pod that has a node from running: its image, its configuration, its volumes."""

from platform_app.domain.explain import Cause, Source

_ANY = ".*"
_PULL = "ErrImagePull|ImagePullBackOff|ErrImageNeverPull"
CONTAINERS = (
    Cause(
        "image-name",
        Source.CONTAINER,
        "InvalidImageName",
        _ANY,
        "the image name of {about} is not valid: {message}",
        "mend SLIPWAY_RAY_IMAGE",
    ),
    Cause(
        "image-access",
        Source.CONTAINER,
        _PULL,
        "unauthorized|denied|forbidden|authentication|no basic auth",
        "the registry does not give the image of {about}: {message}",
        "add an imagePullSecret to the namespace's service account, or mend the image's name",
    ),
    Cause(
        "image-absent",
        Source.CONTAINER,
        _PULL,
        "not found|manifest unknown|does not exist|not present",
        "there is no such image for {about}: {message}",
        "push it, or mend SLIPWAY_RAY_IMAGE",
    ),
    Cause(
        "image-registry-away",
        Source.CONTAINER,
        _PULL,
        _ANY,
        "the image of {about} does not pull: {message}",
        "Kubernetes goes on trying; see that nodes reach the registry",
    ),
    Cause(
        "config-absent",
        Source.CONTAINER,
        "CreateContainerConfigError",
        r'(?P<kind>secret|configmap) "(?P<name>[^"]+)" not found',
        "{about} needs the {kind} {name}, which its namespace lacks",
        "create it",
    ),
    Cause(
        "container-config",
        Source.CONTAINER,
        "CreateContainer(Config)?Error|RunContainerError|StartError",
        _ANY,
        "the container of {about} cannot be started: {message}",
        "",
    ),
    Cause(
        "out-of-memory",
        Source.CONTAINER,
        "OOMKilled",
        _ANY,
        "{about} used more memory than its limit and was killed",
        "give its worker group more memory_gib, or let each worker load less",
    ),
    Cause(
        "crash-loop",
        Source.CONTAINER,
        "CrashLoopBackOff|Error",
        _ANY,
        "{about} ends as soon as it starts: {message}",
        "see its log",
    ),
)

VOLUMES = (
    Cause(
        "volume-absent",
        Source.POD,
        "Unschedulable",
        r'persistentvolumeclaim "(?P<name>[^"]+)" not found',
        "its namespace has no PersistentVolumeClaim {name} for the shared storage",
        "apply the team's manifests",
    ),
    Cause(
        "volume-unbound",
        Source.POD,
        "Unschedulable",
        "unbound immediate PersistentVolumeClaims|didn't find available persistent volumes",
        "the PersistentVolumeClaim of {about} is not bound to a volume",
        "see its StorageClass and the CSI driver (kubectl describe pvc)",
    ),
    Cause(
        "volume-mount",
        Source.EVENT,
        "FailedMount|FailedAttachVolume",
        _ANY,
        "a volume of {about} cannot be mounted: {message}",
        "see that nodes reach the file server and that the CSI driver tolerates their taints",
    ),
    Cause(
        "pod-network",
        Source.EVENT,
        "FailedCreatePodSandBox|NetworkNotReady",
        _ANY,
        "the node gives {about} no network: {message}",
        "see the node's CNI plugin and free addresses",
    ),
)
