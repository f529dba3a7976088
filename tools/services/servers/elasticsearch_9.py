"""Elasticsearch 9 from Maven Central, as version 8 is: it needs a newer Java, which comes from PyPI."""

from typing import ClassVar

from tools.services.servers.elasticsearch import Elasticsearch


class Elasticsearch9(Elasticsearch):
    """A release of version 9."""

    name: ClassVar[str] = "elasticsearch_9"
    release: ClassVar[str] = "9.1.0"
    oldest_java: ClassVar[int] = 21


SERVER = Elasticsearch9()
