"""Tests, by what they need: `unit` nothing, `service` and `api` a ledger, `contract` an adapter, `integration` Ray."""
