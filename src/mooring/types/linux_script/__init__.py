"""Commands on a Linux server, over SSH."""

from mooring.plugin.card import ConnectionType
from mooring.types.linux_script.model import LinuxScriptConfig

TYPE = ConnectionType(
    name="linux-script",
    title="Linux script (SSH)",
    group="Commands",
    config=LinuxScriptConfig,
    connector="mooring.types.linux_script.connector:LinuxScriptConnector",
    operations=("run",),
    extra="linux-script",
    aliases=("linuxscript", "linuxScript"),
    note="Runs commands on another machine by design: give it an account that may do only what is needed."
    " A worker does so only where its operator allows it (MOORING_LINUX_SCRIPT).",
)
