"""The fixtures of the real servers, for the tests of those servers."""

from tests.support.services import kafka, mail, mariadb, postgres

__all__ = ["kafka", "mail", "mariadb", "postgres"]
