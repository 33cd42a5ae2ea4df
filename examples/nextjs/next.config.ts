import type { NextConfig } from 'next'

const gateway = process.env.EVERYTOKEN_URL ?? 'http://127.0.0.1:8000'

const config: NextConfig = {
  // What the page's components ask goes to everytoken. Rewrites are read when the app is built.
  rewrites: async () => [
    { source: '/api/:path*', destination: `${gateway}/api/:path*` },
    { source: '/v1/:path*', destination: `${gateway}/v1/:path*` },
  ],
  turbopack: { root: import.meta.dirname },
  // Next ends a proxied answer after 30 silent seconds. everytoken has its own clocks for that.
  experimental: { proxyTimeout: 600_000 },
}

export default config
