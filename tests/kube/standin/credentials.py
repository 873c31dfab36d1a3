"""How callers prove who they are: kubeconfig files with tokens, and client certificates for Ray's autoscaler."""

import json
import secrets
from pathlib import Path

from tests.kube.standin.api.access import User
from tests.kube.standin.certificates import Authority


class Credentials:
    """Makes them, for users and service accounts."""

    def __init__(self, authority: Authority, tokens: dict[str, User], folder: Path, url: str) -> None:
        """Make tokens known to the server in `tokens`, and files in `folder`."""
        self._authority = authority
        self._tokens = tokens
        self._folder = folder
        self._url = url
        folder.mkdir(parents=True)

    def kubeconfig(self, user: User) -> Path:
        """Give a kubeconfig file for a user; the same at every call."""
        path = self._folder / f"{user.name.replace(':', '_').replace('/', '_')}.kubeconfig"
        if not path.exists():
            token = secrets.token_hex(16)
            self._tokens[token] = user
            path.write_text(json.dumps(self._config(user, token), indent=1))
            path.chmod(0o600)
        return path

    def in_cluster(self, namespace: str, account: str) -> dict[str, str]:
        """Give the variables by which a service account's pod finds and convinces the API server.

        A container would find a token in a file at a fixed path; there is none on a machine that all share. Ray's
        autoscaler takes a client certificate instead, everyone else the file in `KUBECONFIG`.
        """
        name = f"system:serviceaccount:{namespace}:{account}"
        certificate, key = self._authority.client(name)
        host, _, port = self._url.removeprefix("https://").partition(":")
        return {
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
            "KUBECONFIG": str(self.kubeconfig(User.of(name))),
            "RAY_KUBERAY_CLIENT_CERT_PATH": str(certificate),
            "RAY_KUBERAY_CLIENT_KEY_PATH": str(key),
            "RAY_KUBERAY_CA_CERT_PATH": str(self._authority.certificate),
        }

    def _config(self, user: User, token: str) -> dict[str, object]:
        cluster = {"server": self._url, "certificate-authority": str(self._authority.certificate)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stand-in", "cluster": cluster}],
            "users": [{"name": user.name, "user": {"token": token}}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": user.name}}],
            "current-context": "stand-in",
        }
