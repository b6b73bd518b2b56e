"""Krita's side: reads layers into a Problem and writes a Result back as layers. Knows neither torch nor the engine."""
