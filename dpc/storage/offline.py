"""What keeps the hub's libraries off the network, set before they are imported; no stage uses it, `dpc.storage.hub` does."""

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
