// A classic script in the head, so that the first paint already has the chosen theme. Without a choice the system decides.
(() => {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
