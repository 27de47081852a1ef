export function startTap() {}
