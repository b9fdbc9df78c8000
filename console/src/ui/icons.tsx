// The icons: strokes on a grid of 16.
const PATHS = {
  overview: "M2.500 8h2l1.500-4 3 8 1.500-4h3",
  servers: "M2.500 3h11v4h-11zM2.500 9h11v4h-11zM5 5h.01M5 11h.01",
  tools: "M9.500 3a3.500 3.500 0 0 0-3.300 4.700L2.500 11.400 4.600 13.500l3.700-3.700A3.500 3.500 0 0 0 13 6.500l-2 1L9.500 6.500l-1-1z",
  groups: "M2.500 2.500h4.500v4.500h-4.500zM9 2.500h4.500v4.500h-4.500zM2.500 9h4.500v4.500h-4.500zM9 9h4.500v4.500h-4.500z",
  agents: "M3.500 6h9v6.500h-9zM8 6V3M6 9h.01M10 9h.01M2 8.500v2M14 8.500v2",
  audit: "M4 2.500h8v11h-8zM6 5.500h4M6 8h4M6 10.500h2",
  registry: "M2.500 5.500 8 2.500l5.500 3v5L8 13.500l-5.500-3zM2.500 5.500 8 8.500l5.500-3M8 8.500v5",
  secrets: "M3.500 7h9v6h-9zM5.500 7V5a2.500 2.500 0 0 1 5 0v2M8 9.500v1",
  connections: "M6.500 9.500l3-3M7 4.500l1.500-1.500a3 3 0 0 1 4.500 4.500L11.500 9M9 11.500 7.500 13A3 3 0 0 1 3 8.500L4.500 7",
  keys: "M10 6a3 3 0 1 0-2.500 3L9 10.500h1.500V12H12v1.500h1.500V11L9.500 7.500",
  config: "M5.500 4 2.500 8l3 4M10.500 4l3 4-3 4M9 3 7 13",
  fleet: "M8 2.500v3M8 5.500 4 10M8 5.500 12 10M2.500 10h3v3h-3zM10.500 10h3v3h-3zM6.500 2h3v2.500h-3z",
  people: "M8 8a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM3 13.500c.5-3 2.500-4 5-4s4.500 1 5 4",
  connect: "M8 3v6M5.500 6.500 8 9l2.500-2.500M3 10.500v2.500h10v-2.500",
  home: "M2.500 7.500 8 3l5.500 4.500V13h-11zM6.500 13V9.500h3V13",
  plus: "M8 3.500v9M3.500 8h9",
  close: "M4 4l8 8M12 4l-8 8",
  search: "M7 11.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9zM10.500 10.500l3 3",
  menu: "M2.500 4.500h11M2.500 8h11M2.500 11.500h11",
  down: "M4 6l4 4 4-4",
  left: "M10 4 6 8l4 4",
  right: "M6 4l4 4-4 4",
  check: "M3.500 8.500l3 3 6-7",
  alert: "M8 2.500 14 13H2zM8 6.500v3M8 11.300h.01",
  info: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 7.500V11M8 5.200h.01",
  copy: "M5.500 5.500h8v8h-8zM10.500 5.500v-3h-8v8h3",
  more: "M3.500 8h.01M8 8h.01M12.500 8h.01",
  sun: "M8 10.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM8 1.500V3M8 13v1.500M1.500 8H3M13 8h1.500M3.400 3.400l1 1M11.600 11.600l1 1M12.600 3.400l-1 1M4.400 11.600l-1 1",
  out: "M6.500 3h-4v10h4M10 5l3 3-3 3M13 8H6",
  refresh: "M13 8a5 5 0 1 1-1.500-3.500L13 6M13 3v3h-3",
  play: "M5 3.500l7 4.500-7 4.500z",
} as const;

export type IconName = keyof typeof PATHS;

/** An icon that says nothing by itself: what it stands beside does. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" fill="none" stroke="currentColor"
      strokeWidth={1.4} strokeLinecap="round" strokeLinejoin="round">
      <path d={PATHS[name]} />
    </svg>
  );
}
