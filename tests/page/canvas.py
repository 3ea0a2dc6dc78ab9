"""What is drawn, by its colours: a canvas has no elements to ask."""

FIND = """([name, alphas]) => {
    const probe = document.body.appendChild(document.createElement('span'));
    probe.style.color = `var(${name})`;
    const [red, green, blue, alpha = 1] = getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number);
    probe.remove();
    // The edges of lines are see-through.
    const [least, most] = alphas ?? (alpha === 1 ? [100, 255] : [alpha * 255 - 2, alpha * 255 + 2]);
    const near = 14;
    const found = {count: 0, left: Infinity, right: -1, top: Infinity, bottom: -1};
    for (const canvas of document.querySelectorAll('#chart canvas')) {
        if (canvas.width === 0) continue;
        const box = canvas.getBoundingClientRect();
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] < least || data[i + 3] > most) continue;
            if (Math.abs(data[i] - red) > near || Math.abs(data[i + 1] - green) > near || Math.abs(data[i + 2] - blue) > near) continue;
            const x = box.left + ((i / 4) % canvas.width) * box.width / canvas.width;
            const y = box.top + Math.floor(i / 4 / canvas.width) * box.height / canvas.height;
            found.count += 1;
            found.left = Math.min(found.left, x);
            found.right = Math.max(found.right, x);
            found.top = Math.min(found.top, y);
            found.bottom = Math.max(found.bottom, y);
        }
    }
    return found;
}"""


def drawn(page, name, alphas=None):
    """How many points of the chart have the style sheet's colour `name`, and where they are on the page. `alphas`: where several
    see-through ones lie over each other."""
    return page.evaluate(FIND, [name, alphas])


# Stands in for a tab behind another one, which a headless browser does not have: no frames, and told to be hidden.
HIDABLE = """
    const real = window.requestAnimationFrame.bind(window);
    let held = null;
    window.requestAnimationFrame = job => held === null ? real(job) : held.push(job);
    const tell = state => {
        Object.defineProperty(document, 'visibilityState', {value: state, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    };
    window.hide = () => { held = []; tell('hidden'); };
    window.unhide = () => { const jobs = held; held = null; jobs.forEach(real); tell('visible'); };
"""
