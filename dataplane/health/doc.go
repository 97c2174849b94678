// Package health asks the endpoints of clusters how they are: over and over, on connections of its own, which speak what
// requests speak. What an answer means for an endpoint, its thresholds included, is upstream.Endpoint.Checked's to say.
package health
