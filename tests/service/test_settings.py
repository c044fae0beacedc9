import pytest
from pydantic import ValidationError

from service.settings import ControlSettings, EngineSettings


@pytest.mark.parametrize("kind", [EngineSettings, ControlSettings])
def test_loopback_is_the_only_open_door(kind) -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert kind(host=host).host == host
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org", ""):
        with pytest.raises(ValidationError, match="--insecure"):
            kind(host=host)
        assert kind(host=host, insecure=True).host == host
