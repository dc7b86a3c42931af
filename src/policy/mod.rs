//! What policies allow: layers, how they meet, and decisions with their provenance. Pure.
