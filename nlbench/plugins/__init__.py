"""From a name to a component, wherever it comes from; the components are elsewhere."""
