/** Settings for `openSource` in tests: everything of one directory, not followed. */
import type {
  PlaceSettings,
  SelectionSettings,
  StartSettings,
  TransformSettings,
} from "../../src/upload/settings.ts";
import { NO_SELECTION, NO_START, NO_TRANSFORM, placesOf } from "./neutral-settings.ts";

export interface SourceSettings {
  places: PlaceSettings;
  start: StartSettings;
  selection: SelectionSettings;
  transform: TransformSettings;
  follow: boolean;
}

export function sourceSettings(
  directory: string,
  options: Partial<Omit<SourceSettings, "start" | "selection">> & {
    start?: Partial<StartSettings>;
    selection?: Partial<SelectionSettings>;
  } = {},
): SourceSettings {
  const { start, selection, ...rest } = options;
  return {
    places: placesOf({ directory }),
    start: { ...NO_START, ...start },
    selection: { ...NO_SELECTION, ...selection },
    transform: NO_TRANSFORM,
    follow: false,
    ...rest,
  };
}
