"""What MkDocs asks when it builds the documentation: generated pages, and the page that lies beside the data."""
