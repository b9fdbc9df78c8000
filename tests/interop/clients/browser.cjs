// A user's browser (`../browser/drive.cjs`), as the drivers use it.
'use strict';

/** The browser at this address, and where its user has been with it. */
function browserAt(address) {
  const visited = [];
  return {
    visited,
    /** Goes to a page, and on to where that leads. */
    visit: async (url) => {
      const response = await fetch(address, { method: 'POST', body: String(url) });
      const text = await response.text();
      if (!response.ok) throw new Error(text);
      visited.push(JSON.parse(text));
      return visited.at(-1);
    },
  };
}

module.exports = { browserAt };
