"""The proxy of the environment, for the Java program that fetches the jars."""

import os
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from fraudstream.errors import JarsMissing


def java_options() -> list[str]:
    """HTTPS_PROXY and NO_PROXY as Java options, as Java does not read those variables itself."""
    options, login = [], []
    proxies = getproxies()
    for scheme in ("http", "https"):
        given = proxies.get(scheme, "")
        try:
            proxy = urlsplit(given if "://" in given else f"//{given}")
            port = proxy.port or 80
        except ValueError:
            # Not the reason: it shows a part of the password.
            raise JarsMissing(
                f"{scheme.upper()}_PROXY is not a URL that can be read.",
                hint="Write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with special characters of the password"
                " percent-encoded: `/` is %2F.",
            ) from None
        if proxy.hostname:
            options += [f"-D{scheme}.proxyHost={proxy.hostname}", f"-D{scheme}.proxyPort={port}"]
        if proxy.username:
            # Ivy knows one login for all proxies, and Java gives it to one of https only if Basic is not disabled there.
            login = [
                f"-Dhttp.proxyUser={unquote(proxy.username)}",
                f"-Dhttp.proxyPassword={unquote(proxy.password or '')}",
                "-Djdk.http.auth.tunneling.disabledSchemes=",
            ]
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    if options and exempt:
        hosts = [host.strip() for host in exempt.split(",") if host.strip()]
        # A domain there includes its subdomains, which Java needs to be told.
        below = [f"*.{host.lstrip('.')}" for host in hosts if not host.startswith("*")]
        options.append(
            "-Dhttp.nonProxyHosts=" + "|".join([*(h for h in hosts if not h.startswith(".")), *below])
        )
    return options + login
