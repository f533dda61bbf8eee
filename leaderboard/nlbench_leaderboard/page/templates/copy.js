"use strict";
// Without this script a command can be selected with one click; it only adds the buttons.
{
  const add = (code) => {
    if (code.dataset.copied !== undefined || !navigator.clipboard) return;
    code.dataset.copied = "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    const said = document.createElement("span");
    said.className = "sr";
    said.setAttribute("role", "status");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        said.textContent = "Copied to the clipboard.";
        setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 4000);
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
    (code.closest("pre") ?? code).after(button, said);
  };
  // A page has hundreds of commands in closed details: those get a button when they are opened.
  for (const code of document.querySelectorAll("code.command")) {
    if (!code.closest("details:not([open])")) add(code);
  }
  document.addEventListener("toggle", ({ target }) => {
    if (!target.open) return;
    for (const code of target.querySelectorAll("code.command")) {
      if (!code.closest("details:not([open])")) add(code);
    }
  }, true);
}
