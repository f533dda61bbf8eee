"""Sections of scale_plan.py: what is measured here, and what follows for more than fits here."""
