"""Files over FTP, FTPS and SFTP."""

from mooring.plugin.card import ConnectionType
from mooring.types.ftp.model import FtpConfig

TYPE = ConnectionType(
    name="ftp",
    title="FTP, FTPS and SFTP",
    group="Files",
    config=FtpConfig,
    extra="ftp",
)
