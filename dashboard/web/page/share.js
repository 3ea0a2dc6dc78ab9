// What is shown, as CSV and JSON. Texts that a spreadsheet would take for a formula are made harmless; numbers stay exact.

/**
 * @param {readonly string[]} columns
 * @param {readonly Record<string, unknown>[]} rows
 */
export function toCsv(columns, rows) {
  const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))];
  return lines.map((line) => line.map(field).join(',')).join('\r\n') + '\r\n';
}

/** @param {unknown} value */
function field(value) {
  if (value === null || value === undefined) return '';
  const plain = String(value);
  const harmless = /^[=+\-@\t\r]/.test(plain) && !/^-?\d+(\.\d+)?$/.test(plain) ? `'${plain}` : plain;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

/**
 * Hands a file to the reader.
 * @param {string} name
 * @param {string} type
 * @param {string} content
 */
export function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name.replace(/[^\w.-]+/g, '_');
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
