// Package page is the status page of the admin API: one document that holds its style and its script, asks its own server
// for /api/v1/status every few seconds, and loads nothing from anywhere else. Everything that it shows is text to it:
// the script makes elements and sets their textContent, and the policy lets no other script run.
package page
