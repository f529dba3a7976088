"""Which options a broker URL may carry. What is not here is refused: some options load files, code or other addresses."""

from __future__ import annotations

_WIRE_FORMAT = (
    "cacheEnabled", "cacheSize", "maxFrameSize", "maxInactivityDuration", "maxInactivityDurationInitalDelay",
    "maxInactivityDurationInitialDelay", "prefixPacketSize", "sizePrefixDisabled", "stackTraceEnabled",
    "tcpNoDelayEnabled", "tightEncodingEnabled", "version",
)  # fmt: skip
_PREFETCH = (
    "all", "durableTopicPrefetch", "inputStreamPrefetch", "maximumPendingMessageLimit", "optimizeDurableTopicPrefetch",
    "queueBrowserPrefetch", "queuePrefetch", "topicPrefetch",
)  # fmt: skip
_REDELIVERY = (
    "backOffMultiplier", "collisionAvoidancePercent", "initialRedeliveryDelay", "maximumRedeliveries",
    "maximumRedeliveryDelay", "maxRedeliveries", "outcome", "redeliveryDelay", "useCollisionAvoidance",
    "useExponentialBackOff",
)  # fmt: skip
_JMS = (
    "alwaysSessionAsync", "alwaysSyncSend", "awaitClientID", "checkForDuplicates", "clientID", "clientIDPrefix",
    "closeLinksThatFailOnReconnect", "closeTimeout", "connectionIDPrefix", "connectTimeout", "consumerExpiryCheckEnabled",
    "consumerFailoverRedeliveryWaitPeriod", "copyMessageOnSend", "disableTimeStampsByDefault", "dispatchAsync",
    "exclusiveConsumer", "forceAsyncAcks", "forceAsyncSend", "forceSyncSend", "localMessageExpiry", "localMessagePriority",
    "maxThreadPoolSize", "messagePrioritySupported", "nestedMapAndListEnabled", "nonBlockingRedelivery",
    "objectMessageSerializationDefered", "optimizeAcknowledge", "optimizeAcknowledgeTimeOut",
    "optimizedAckScheduledAckInterval", "optimizedMessageDispatch", "password", "populateJMSXUserID", "producerWindowSize",
    "queuePrefix", "receiveLocalOnly", "receiveNoWaitLocalOnly", "requestTimeout", "sendAcksAsync", "sendTimeout",
    "statsEnabled", "topicPrefix", "transactedIndividualAck", "useAsyncSend", "useCompression", "useDedicatedTaskRunner",
    "useRetroactiveConsumer", "userName", "username", "validatePropertyNames", "warnAboutUnstartedConnectionTimeout",
    "watchTopicAdvisories",
)  # fmt: skip
_SOCKET = (
    "connectionTimeout", "daemon", "ioBufferSize", "keepAlive", "minmumWireFormatVersion", "soLinger", "soTimeout",
    "soWriteTimeout", "socketBufferSize", "tcpNoDelay", "trace", "typeOfService", "useInactivityMonitor",
    "useKeepAlive",
)  # fmt: skip
_FAILOVER = (
    "backOffMultiplier", "backup", "backupPoolSize", "initialReconnectDelay", "maxCacheSize", "maxReconnectAttempts",
    "maxReconnectDelay", "maxReconnectDelayMillis", "priorityBackup", "randomize", "reconnectDelayExponent",
    "reconnectSupported", "startupMaxReconnectAttempts", "timeout", "trackMessages", "trackTransactionProducers",
    "updateURIsSupported", "useExponentialBackOff", "warnAfterReconnectAttempts",
)  # fmt: skip
_AMQP = (
    "drainTimeout", "idleTimeout", "maxFrameSize", "saslLayer", "saslMechanisms", "traceBytes", "traceFrames", "vhost",
)  # fmt: skip
_TRANSPORT = (
    "connectTimeout", "enabledProtocols", "receiveBufferSize", "sendBufferSize", "soLinger", "soTimeout", "tcpKeepAlive",
    "tcpNoDelay", "trafficClass",
)  # fmt: skip
_AMQP_FAILOVER = (
    "amqpOpenServerListAction", "initialReconnectDelay", "maxReconnectAttempts", "maxReconnectDelay", "randomize",
    "reconnectBackOffMultiplier", "reconnectDelay", "startupMaxReconnectAttempts", "useReconnectBackOff",
    "warnAfterReconnectAttempts",
)  # fmt: skip


def _prefixed(prefix: str, names: tuple[str, ...]) -> set[str]:
    return {f"{prefix}.{name}" for name in names}


BROKER_OPTIONS: frozenset[str] = frozenset(
    set(_SOCKET)
    | _prefixed("wireFormat", _WIRE_FORMAT)
    | _prefixed("jms", _JMS)
    | _prefixed("jms.prefetchPolicy", _PREFETCH)
    | _prefixed("jms.redeliveryPolicy", _REDELIVERY)
    | _prefixed("amqp", _AMQP)
    | _prefixed("transport", _TRANSPORT)
)
"""Options of one broker's URL."""

FAILOVER_OPTIONS: frozenset[str] = frozenset(
    set(_FAILOVER)
    | _prefixed("failover", _AMQP_FAILOVER)
    | _prefixed("nested", _SOCKET)
    | _prefixed("nested.wireFormat", _WIRE_FORMAT)
    | _prefixed("failover.nested.amqp", _AMQP)
    | _prefixed("failover.nested.transport", _TRANSPORT)
    | _prefixed("jms", _JMS)
    | _prefixed("jms.prefetchPolicy", _PREFETCH)
    | _prefixed("jms.redeliveryPolicy", _REDELIVERY)
)
"""Options of a failover list as a whole."""

INSTEAD: dict[str, str] = {
    "socket.verifyHostName": "verifyHostname",
    "transport.verifyHost": "verifyHostname",
    "transport.trustAll": "trustStoreName",
    "transport.trustStoreLocation": "trustStoreName",
    "transport.trustStorePassword": "trustStoreName",
    "transport.keyStoreLocation": "keyStoreName",
    "transport.keyStorePassword": "keyStoreName",
    "transport.keyAlias": "keyStoreName",
}
"""Options that are refused because a field of the connection says the same."""
