"""Streamlit's configuration: nothing comes from files, and nothing leaves this machine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

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
    "global.developmentMode": False,
    # A full collection after each run of a page would hold up its pictures for a tenth of a second.
    "runner.postScriptGC": False,
    "secrets.files": [],  # `app.server` hands over those that the settings name
    "server.allowedHosts": [],  # `app.access` checks them, for every route
    "server.baseUrlPath": "",
    "server.corsAllowedOrigins": [],
    "server.enableAgentApi": False,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.headless": True,  # no prompt, no browser: `app.server` opens it
    "server.maxUploadSize": MAX_UPLOAD_MB,
    "server.scriptHealthCheckEnabled": False,
    "server.trustedUserHeaders": {},  # whoever connects could write them
}


def configure_streamlit(port: int, public_host: str) -> None:
    """Set Streamlit's options; the files and variables that it would have read do not count.

    Args:
        port: The port that the app listens on.
        public_host: The host name in the browser's address bar.
    """
    from streamlit import config

    # What the current folder and the home folder have in .streamlit is of other programs.
    config.get_config_files = lambda file_name: []
    own = {
        "browser.serverAddress": public_host,
        "browser.serverPort": port,
        "server.cookieSecret": secrets.token_hex(32),
        "server.port": port,
    }
    config.get_config_options(force_reparse=True, options_from_flags={**OPTIONS, **own})
