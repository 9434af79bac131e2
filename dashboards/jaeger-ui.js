// Jaeger puts this function into its page and calls it once, before anything is drawn.
function UIConfig() {
  // The Monitor tab starts with spans of kind "server", of which connectors have none: calls are "internal", attempts
  // "client". There is no setting for it; this is where the page keeps the user's choice, which is left alone.
  const choice = "lastAtmSearchSpanKind";
  if (window.localStorage.getItem(choice) === null) {
    window.localStorage.setItem(choice, JSON.stringify("internal"));
  }
  return { monitor: { menuEnabled: true }, dependencies: { menuEnabled: true } };
}
