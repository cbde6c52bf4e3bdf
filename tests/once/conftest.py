from tests.every_store import a_redis, fresh_key, lasting_url, store_url

__all__ = ["a_redis", "fresh_key", "lasting_url", "store_url"]
