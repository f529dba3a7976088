"""Files over FTP, FTPS and SFTP."""

from mooring.plugin.card import ConnectionType
from mooring.types.ftp.model import FtpConfig

TYPE = ConnectionType(
    name="ftp",
    title="FTP, FTPS and SFTP",
    group="Files",
    config=FtpConfig,
    connector="mooring.types.ftp.connector:FtpConnector",
    operations=("list", "get", "put", "delete"),
    extra="ftp",
)
