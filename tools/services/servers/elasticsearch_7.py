"""Elasticsearch 7 from Maven Central: without TLS, with passwords, and open to those who do not log in."""

from typing import ClassVar

from tools.services.servers.elasticsearch import Elasticsearch


class Elasticsearch7(Elasticsearch):
    """The last release of version 7."""

    name: ClassVar[str] = "elasticsearch_7"
    release: ClassVar[str] = "7.17.28"
    scheme: ClassVar[str] = "http"

    def further_settings(self) -> str:
        return ""


SERVER = Elasticsearch7()
