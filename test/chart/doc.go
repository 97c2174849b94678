// Package chart tests the Helm chart in charts/pingora-proxy with Helm itself: what it renders for sets of values (golden
// files in testdata; -update rewrites them), what it refuses, and what installing, upgrading, rolling back and removing it
// does to a real API server. There are no pods here: that the chart's pods serve is for test/e2e to show.
package chart
