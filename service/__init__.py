"""The serving half of Stillroom: engine, control and worker. Never imports torch."""
