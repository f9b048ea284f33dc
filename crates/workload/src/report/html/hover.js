// Without this, browsers show the same text as a plain tooltip.
(() => {
  const tip = document.createElement('div');
  tip.className = 'tip';
  document.body.append(tip);
  for (const title of document.querySelectorAll('svg .hit > title, svg .cell > title')) {
    const area = title.parentNode;
    const text = title.textContent;
    title.remove();
    area.addEventListener('pointermove', (event) => {
      tip.textContent = text;
      tip.classList.add('shown');
      const right = event.clientX > innerWidth - 240;
      tip.style.left = event.clientX + (right ? -14 - tip.offsetWidth : 14) + 'px';
      tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + 'px';
    });
    area.addEventListener('pointerleave', () => tip.classList.remove('shown'));
  }
})();
