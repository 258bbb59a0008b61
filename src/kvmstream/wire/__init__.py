"""The bytes between agent, hub and viewer: framing, messages, TLS, pairing, clocks. docs/protocol.md is its manual."""
