"""Streamlit's configuration: nothing comes from files, and nothing leaves this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MAX_UPLOAD_MB = 50
FONT = "'Inter', 'Segoe UI', system-ui, -apple-system, 'Noto Sans', sans-serif"
THEME = {
    "theme.baseRadius": "0.8rem",
    "theme.buttonRadius": "full",
    "theme.baseFontSize": 16,
    "theme.font": FONT,
    "theme.headingFont": FONT,
    "theme.light.primaryColor": "#0f766e",
    "theme.light.backgroundColor": "#fbfaf8",
    "theme.light.secondaryBackgroundColor": "#f2f0ec",
    "theme.light.textColor": "#1c1917",
    "theme.light.borderColor": "#e4e0d9",
    "theme.dark.primaryColor": "#2dd4bf",
    "theme.dark.backgroundColor": "#141312",
    "theme.dark.secondaryBackgroundColor": "#1e1c1a",
    "theme.dark.textColor": "#f0ede8",
    "theme.dark.borderColor": "#35322e",
}
OPTIONS: Mapping[str, object] = THEME | {
    "browser.gatherUsageStats": False,
    "client.allowedOrigins": [],  # no page of Streamlit's cloud may steer the app
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,  # to search engines
    "client.toolbarMode": "minimal",
    "server.fileWatcherType": "none",
    "server.headless": True,  # no prompt, no browser: `app.server` opens it
    "server.maxUploadSize": MAX_UPLOAD_MB,
}


def configure_streamlit(port: int, public_host: str, allowed_hosts: Sequence[str]) -> None:
    """Set Streamlit's options; the files that it would have read do not count.

    Args:
        port: The port that the app listens on.
        public_host: The host name in the browser's address bar.
        allowed_hosts: The host names that requests may be for; none: any.
    """
    from streamlit import config

    # What the current folder and the home folder have in .streamlit is of other programs.
    config.get_config_files = lambda file_name: []
    own = {
        "browser.serverAddress": public_host,
        "browser.serverPort": port,
        "server.allowedHosts": list(allowed_hosts),
        "server.port": port,
    }
    config.get_config_options(force_reparse=True, options_from_flags={**OPTIONS, **own})
