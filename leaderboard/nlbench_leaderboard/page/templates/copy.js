"use strict";
// Without this script a command can be selected with one click; it only adds the buttons.
{
  const add = (code) => {
    if (code.dataset.copied !== undefined || !navigator.clipboard) return;
    code.dataset.copied = "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    // There are many of them: their names say what they copy.
    const say = (text) => {
      button.textContent = text;
      button.setAttribute("aria-label", `${text}: ${code.textContent.trim().slice(0, 80)}`);
    };
    say("Copy");
    const said = document.createElement("span");
    said.className = "sr";
    said.setAttribute("role", "status");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        say("Copied");
        said.textContent = "Copied to the clipboard.";
        setTimeout(() => { say("Copy"); said.textContent = ""; }, 4000);
      } catch {
        getSelection().selectAllChildren(code);
        say("Selected, press Ctrl+C");
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
