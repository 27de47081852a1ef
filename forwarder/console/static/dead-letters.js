export function startDeadLetters() {}
