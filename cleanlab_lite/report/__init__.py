"""What we conclude: tables, sentences, the gate, the page."""
