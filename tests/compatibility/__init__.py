"""Tests: compatibility."""
