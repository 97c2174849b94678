// Package fetcher makes the client with which filters fetch URLs that users name: keys of JWT providers, for one. What is fetched, and
// how often, is the filters' part.
package fetcher
