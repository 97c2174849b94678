// Package page tries the status page in a real Chromium: what it shows of a running proxy, how it follows changes, and that
// nothing that a user has configured becomes markup. Without a Chromium its tests are skipped; PAGE=1 makes that a failure.
package page
