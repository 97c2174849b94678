FROM golang:1.26 AS build
WORKDIR /src

# The modules first: a change of code does not download them again.
COPY go.mod go.sum ./
RUN go mod download

COPY . .
ARG VERSION=dev
# The same target that CI runs in a chroot: the image is never anything else than what was tested.
RUN make image-rootfs VERSION="${VERSION}" ROOTFS=/rootfs

FROM scratch
COPY --from=build /rootfs/ /

# By number, so that Kubernetes' runAsNonRoot can check it without reading /etc/passwd.
USER 65532:65532

# The two services of the configuration inside; mount your own over /etc/pingora-proxy.
EXPOSE 6188 6189

ENTRYPOINT ["/usr/local/bin/pingora-proxy"]
CMD ["--config", "/etc/pingora-proxy/config.yaml"]
